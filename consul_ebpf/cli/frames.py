"""Draws a picture of a host: a frame of `top`."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.text import Text

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.keys import HELP, View
from consul_ebpf.cli.parts import one_line, proxies_of, servers_of, volumes_of
from consul_ebpf.cli.verdicts import (
    LABEL_WIDTH,
    ailment_rows,
    ailments,
    headline,
    urgency,
)
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.picture import Picture
from consul_ebpf.views.wording import words_of

KIND_STYLES: Mapping[str, str] = {
    "server_ready": "green",
    "server_failing": "bold red",
    "server_gone": "yellow",
    "server_draining": "yellow",
    "moved": "cyan",
    "detached": "bold red",
    "controller_ended": "bold yellow",
}

FEWEST_PROXIES, FEWEST_HAPPENINGS = 2, 2
"""Rows that each part has, however low the screen is."""

MOST_AILMENTS, FEWER_AILMENTS = 4, 2
"""Ailments that a frame shows, and on a screen below `HIGH`; `status` shows all."""

HIGH = 30
"""Rows of a screen that has room for all parts."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many rows the parts of a frame have."""

    proxies: int
    happenings: int


def divided(height: int, above: int, proxies: int) -> Room:
    """Divide a screen's height. Pure.

    Args:
        height: of the screen; 0: there is no limit.
        above: lines of the parts that have as many as they need.
        proxies: how many there are.
    """
    if not height:
        return Room(1 << 30, 1 << 30)
    left = height - above - 5  # titles, heads, and the line of keys
    room = max(FEWEST_PROXIES, left - max(FEWEST_HAPPENINGS, left // 3))
    return Room(room, max(FEWEST_HAPPENINGS, left - min(room, proxies)))


def frame(
    picture: Picture,
    view: View,
    host: str,
    height: int = 0,
    *,
    width: int = 0,
    bar: str = "█",
    trouble: str = "",
) -> RenderableType:
    """Return one frame.

    Args:
        picture: what is shown.
        view: how it is to be shown.
        host: this host's name.
        height: rows of the screen; 0: no limit, and no line of keys.
        width: columns of the screen; 0: no limit.
        bar: the character of bars.
        trouble: why the picture is an old one; empty: it is the newest.
    """
    status = picture.status
    low = 0 < height < HIGH
    most = (FEWER_AILMENTS if low else MOST_AILMENTS) if height else None
    urgent = urgency(status.verdict)
    rows = ailment_rows(status.verdict, picture.at, most, briefly=low)
    pods = volumes_of(status.kubernetes) if status.kubernetes else []
    above = _height((text for _, text in rows), width - LABEL_WIDTH)
    above += len(urgent) + len(pods) + len(status.servers) + 3
    above += len(status.lost)
    room = divided(height, above, len(status.proxies))
    parts: list[RenderableType] = [
        _head(picture, view, host),
        *urgent,
        *([ailments(rows)] if rows else ()),
        Text("Consul servers", "bold"),
        servers_of(picture, width, bar),
        *proxies_of(picture, view, room.proxies, width),
        *pods,
        *_happenings(status.timeline, room.happenings),
    ]
    if height:
        parts.append(_foot(view, trouble))
    return Group(*parts)


def _height(texts: Iterable[Text], width: int) -> int:
    """Return how many lines texts take on a screen."""
    return sum(len(wrap(each.plain, width)) if width > 0 else 1 for each in texts)


def _head(picture: Picture, view: View, host: str) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(picture.at))
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"consul-ebpf on {printable(host)} {clock}  ", "bold")
    line.append_text(headline(picture.status.verdict))
    if view.paused:
        line.append("  PAUSED", "bold reverse")
    return line


def _happenings(timeline: Sequence[Happening], room: int) -> list[RenderableType]:
    """Return the newest happenings, the newest first."""
    lines: list[RenderableType] = [Text("What happened, the newest first", "bold")]
    if not timeline:
        lines.append(Text("  nothing since this began to look", "dim"))
    lines += [happening_line(each) for each in reversed(timeline[-room:])]
    return lines


def happening_line(happening: Happening) -> Text:
    """Return one happening with its local time."""
    clock = time.strftime("%m-%d %H:%M:%S", time.localtime(happening.at))
    style = KIND_STYLES.get(happening.kind, "")
    return one_line(f"  {clock}  {words_of(happening)}", style)


def _foot(view: View, trouble: str) -> Text:
    if trouble:
        return one_line(f"not read anew: {trouble}", "bold red reverse")
    if view.typing:
        return one_line(
            f"filter: {view.text}_   Enter keeps it, Esc clears it", "reverse"
        )
    return one_line(HELP, "reverse")
