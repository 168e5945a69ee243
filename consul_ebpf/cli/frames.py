"""Draws a picture of a host: a frame of `top`."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.durations import ago
from consul_ebpf.cli.keys import HELP, View, chosen, state_of
from consul_ebpf.cli.tables import table
from consul_ebpf.cli.verdicts import ailment_lines, headline
from consul_ebpf.model.values import host_port
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.picture import Picture
from consul_ebpf.views.status import ProxyStatus
from consul_ebpf.views.wording import words_of

STATE_STYLES: Mapping[str, str] = {
    "ready": "green",
    "failing": "bold red",
    "draining": "yellow",
    "connected": "green",
    "not connected": "bold red",
    "never connected": "dim",
}
KIND_STYLES: Mapping[str, str] = {
    "server_ready": "green",
    "server_failing": "bold red",
    "server_gone": "yellow",
    "server_draining": "yellow",
    "moved": "cyan",
    "detached": "bold red",
    "controller_ended": "bold yellow",
}

BAR_WIDTH = 20
"""Characters of the bar of a server's share."""

FEWEST_PROXIES, FEWEST_HAPPENINGS = 3, 4
"""Rows that each part has, however low the screen is."""

MOST_AILMENTS = 4
"""Ailments that a frame shows; `status` shows all."""


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
    most = MOST_AILMENTS if height else None
    ailments = ailment_lines(status.verdict, picture.at, most)
    above = _lines(ailments, width) + len(status.servers) + len(status.lost) + 5
    room = divided(height, above, len(status.proxies))
    parts: list[RenderableType] = [
        _head(picture, view, host),
        *ailments,
        Text("Consul servers", "bold"),
        _servers(picture, bar),
        *_proxies(picture, view, room.proxies),
        *_happenings(status.timeline, room.happenings),
    ]
    if height:
        parts.append(_foot(view, trouble))
    return Group(*parts)


def _lines(texts: Iterable[Text], width: int) -> int:
    """Return how many lines texts take on a screen."""
    return sum(len(wrap(each.plain, width)) if width else 1 for each in texts)


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def _head(picture: Picture, view: View, host: str) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(picture.at))
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"consul-ebpf on {printable(host)} {clock}  ", "bold")
    line.append_text(headline(picture.status.verdict))
    if view.paused:
        line.append("  PAUSED", "bold reverse")
    return line


SERVER_HEADS = (
    *("server", "state", "for", "share"),
    *("proxies", "connects/s", "connects", "failures"),
)
"""The columns of servers."""


def _servers(picture: Picture, bar: str) -> Table:
    shown = table(SERVER_HEADS, 4)
    for each in picture.status.servers:
        endpoint = host_port(each.address, each.port)
        rate = picture.rates.get(endpoint)
        share = picture.share(each.active)
        shown.add_row(
            _line(endpoint),
            Text(each.state, STATE_STYLES.get(each.state, "")),
            ago(picture.at, each.since),
            f"{bar * round(share * BAR_WIDTH):<{BAR_WIDTH}} {share:>4.0%}",
            str(each.active),
            "-" if rate is None else f"{rate:.1f}",
            str(each.connects),
            str(each.failures),
        )
    for lost in picture.status.lost:
        for_ = ago(picture.at, lost.since)
        shown.add_row(_line(lost.server), Text("died", STATE_STYLES["failing"]), for_)
    return shown


PROXY_HEADS = (
    "proxy",
    "VIP",
    "server",
    "state",
    "for",
    "moves",
    "connects",
    "failures",
)
"""The columns of proxies; most are names in `ORDERS`."""


def _proxies(picture: Picture, view: View, room: int) -> list[RenderableType]:
    all_ = picture.status.proxies
    found = chosen(view, all_)
    first = min(view.first, max(0, len(found) - room))
    shown = found[first : first + room]
    title = f"Proxies: {len(all_)}, {picture.connected} connected"
    if view.text or view.typing:
        title += f"; {len(found)} with /{printable(view.text)}"
    if len(shown) < len(found):
        title += f"; rows {first + 1} to {first + len(shown)}"
    arrow = "^" if view.reverse else "v"
    heads = [f"{h} {arrow}" if h == view.sort else h for h in PROXY_HEADS]
    rows = table(heads, 4)
    for each in shown:
        rows.add_row(*_proxy(picture, each))
    return [_line(title, "bold"), rows]


def _proxy(picture: Picture, proxy: ProxyStatus) -> list[RenderableType]:
    state = state_of(proxy)
    problems = picture.status.problems.get(proxy.id)
    told = Text(state, STATE_STYLES[state])
    if problems:
        told.append(f", {len(problems)} problems", "yellow")
    return [
        _line(proxy.id or "(unknown)"),
        _line(proxy.vip),
        _line(proxy.server or "-"),
        told,
        ago(picture.at, proxy.since),
        str(proxy.moves),
        str(proxy.connects),
        str(proxy.failures),
    ]


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
    return _line(f"  {clock}  {words_of(happening)}", style)


def _foot(view: View, trouble: str) -> Text:
    if trouble:
        return _line(f"not read anew: {trouble}", "bold red reverse")
    if view.typing:
        return _line(f"filter: {view.text}_   Enter keeps it, Esc clears it", "reverse")
    return _line(HELP, "reverse")
