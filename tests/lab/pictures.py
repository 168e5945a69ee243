"""Draws docs/top.svg and docs/page.svg: what one sees of a host with a dead server.

`python -m tests.lab.pictures` does it. The host is made up; it is drawn by the code
that draws real ones.
"""

import os
import re
import time
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from rich.console import Console

from consul_ebpf.cli.frames import frame
from consul_ebpf.cli.keys import View
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.page import main_of, template
from consul_ebpf.views.picture import Picture, Pictures
from consul_ebpf.views.timeline import StateSince, Stay, Timeline
from tests.lab.looks import FAILING, READY, server, snapshot, tables

DOCS = Path(__file__).parents[2] / "docs"

BEGUN = 1795770000.0
DIED = BEGUN + 7200
SEEN = DIED + 9

COLUMNS, ROWS = 108, 26
PAGE_WIDTH, PAGE_HEIGHT = 960, 665


def picture() -> Picture:
    """Return one of three servers and six proxies, nine seconds after a death."""
    moved = {"web-1": 1, "web-4": 2}
    told = [
        Happening(BEGUN, "controller_started"),
        *(Happening(BEGUN + 1, "server_ready", server(slot)) for slot in range(3)),
        *(
            Happening(DIED - 1, "moved", server(0), server(to), [proxy], 1)
            for proxy, to in moved.items()
        ),
        Happening(DIED, "server_failing", server(0)),
    ]
    states = {server(slot): StateSince("ready", BEGUN + 1) for slot in range(3)}
    states[server(0)] = StateSince("failing", DIED)
    stays = {f"web-{n}": Stay(BEGUN + 2) for n in range(6)}
    stays |= {proxy: Stay(DIED - 1, 1) for proxy in moved}
    where = {0: (1, 2), 1: (2, 1), 2: (1, 1), 3: (1, 2), 4: (2, 2), 5: (1, 1)}
    held = tables({0: FAILING, 1: READY, 2: READY}, where)
    pictures = Pictures()
    for at in (SEEN - 1, SEEN):
        made = pictures.add(snapshot(at, held, timeline=Timeline(told, states, stays)))
    return made


def drawn() -> Mapping[str, str]:
    """Return the files' texts, by name. Times are in UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        return {"top.svg": top(picture()), "page.svg": page(picture())}
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


def top(shown: Picture) -> str:
    """Return a frame of `top`."""
    console = Console(
        file=StringIO(),
        record=True,
        width=COLUMNS,
        height=ROWS,
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
    )
    console.print(frame(shown, View(), "host1", ROWS, width=COLUMNS))
    made = console.export_svg(title="consul-ebpf top", unique_id="t")
    # A picture loads nothing from elsewhere: the reader's own font is good enough.
    return re.sub(r"@font-face {.*?}\n", "", made, flags=re.DOTALL)


def page(shown: Picture) -> str:
    """Return the page, which an SVG holds as it is."""
    (style,) = re.findall(r"<style>.*?</style>", template(), re.DOTALL)
    main = main_of(shown.status, "host1", shown.rates)
    lines = main.replace("><", ">\n<")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PAGE_WIDTH}"'
        f' height="{PAGE_HEIGHT}">\n<foreignObject width="100%" height="100%">\n'
        f'<body xmlns="http://www.w3.org/1999/xhtml">\n{style}\n'
        f"{lines}\n</body>\n</foreignObject>\n</svg>\n"
    )


if __name__ == "__main__":
    for name, text in drawn().items():
        (DOCS / name).write_text(text)
        print(f"docs/{name}")
