"""The tables of `top`: servers, proxies, pods' volumes. Pure."""

from collections.abc import Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.columns import stay_of
from consul_ebpf.cli.durations import ago
from consul_ebpf.cli.keys import View, chosen, state_of
from consul_ebpf.cli.tables import PIPE_WIDTH, Cell, Columns, made_of
from consul_ebpf.model.values import host_port
from consul_ebpf.views.picture import Picture
from consul_ebpf.views.pods import NodeStatus
from consul_ebpf.views.status import ProxyStatus

STATE_STYLES: Mapping[str, str] = {
    "ready": "green",
    "failing": "bold red",
    "died": "bold red",
    "silent": "bold red",
    "draining": "yellow",
    "connected": "green",
    "not connected": "bold red",
    "never connected": "dim",
}

BAR_WIDTH, SHORT_BAR_WIDTH = 20, 8
"""Characters of the bar of a server's share, and below `WIDE` columns."""

WIDE = 100

MOST_WAITING = 5
"""Volumes that wait and are named; `status` shows all."""

SERVER_HEADS = (
    *("server", "state", "for", "share"),
    *("proxies", "connects/s", "connects", "failures"),
)
"""The columns of servers."""

FEWER_SERVER_HEADS = ("failures", "connects", "share")
"""Those left out on a narrow terminal, the first to go first."""

PROXY_HEADS = (
    *("proxy", "VIP", "server", "state", "for"),
    *("moves", "connects", "failures"),
)
"""The columns of proxies; most are names in `ORDERS`."""

FEWER_PROXY_HEADS = ("failures", "connects", "VIP", "moves")
"""As `FEWER_SERVER_HEADS`."""

POD = "pod"
"""The column before the proxies' names on a node of Kubernetes."""


def one_line(text: str, style: str = "") -> Text:
    """Return a text that is cut where it does not fit."""
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def servers_of(picture: Picture, width: int, bar: str) -> Table:
    """Return the table of servers, those that died and are listed no more last."""
    rows: list[list[Cell]] = []
    bars = SHORT_BAR_WIDTH if 0 < width < WIDE else BAR_WIDTH
    for each in picture.status.shown_servers:
        endpoint = host_port(each.address, each.port)
        rate = picture.rates.get(endpoint)
        share = picture.share(each.active)
        rows.append(
            [
                endpoint,
                Text(each.state, STATE_STYLES.get(each.state, "")),
                ago(picture.at, each.since),
                f"{bar * round(share * bars):<{bars}} {share:>4.0%}",
                str(each.active),
                "-" if rate is None else f"{rate:.1f}",
                str(each.connects),
                str(each.failures),
            ]
        )
    for lost in picture.status.lost:
        died = Text("died", STATE_STYLES["died"])
        none = [""] * (len(SERVER_HEADS) - 3)
        rows.append([lost.server, died, ago(picture.at, lost.since), *none])
    columns = Columns(made_of(rows, SERVER_HEADS), 4, FEWER_SERVER_HEADS)
    return columns.drawn(width or PIPE_WIDTH, "ellipsis")


def proxies_of(
    picture: Picture, view: View, room: int, width: int
) -> list[RenderableType]:
    """Return the table of proxies with its title; as many rows as there is room for."""
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
    cells = made_of([_proxy(picture, each, width) for each in shown], heads)
    left = 4
    if node := picture.status.kubernetes:
        pods = {each.proxy: each.pod for each in node.volumes}
        cells = {POD: [pods.get(each.id, "-") for each in shown], **cells}
        left += 1
    optional = [each for each in FEWER_PROXY_HEADS if each != view.sort]
    columns = Columns(cells, left, optional)
    return [one_line(title, "bold"), columns.drawn(width or PIPE_WIDTH, "ellipsis")]


def _proxy(picture: Picture, proxy: ProxyStatus, width: int) -> list[Cell]:
    state, for_ = stay_of(proxy, picture.at)
    if 0 < width < WIDE:
        state = state_of(proxy)
    told = Text(state, STATE_STYLES[state_of(proxy)])
    if problems := len(picture.status.problems.get(proxy.id, ())):
        told.append(", 1 problem" if problems == 1 else f", {problems} problems")
    return [
        proxy.id or "(unknown)",
        proxy.vip,
        proxy.server or "-",
        told,
        for_,
        str(proxy.moves),
        str(proxy.connects),
        str(proxy.failures),
    ]


def volumes_of(node: NodeStatus) -> list[Text]:
    """Return lines on the volumes of a node's pods: which wait, and for what."""
    waiting = [each for each in node.volumes if each.waits]
    head = f"Pods' volumes: {len(node.volumes)}, {len(waiting)} wait"
    lines = [one_line(head, "bold")]
    for each in waiting[:MOST_WAITING]:
        why = "; ".join(each.problems) or "not published yet"
        lines.append(one_line(f"  {each.pod}: {why}", "yellow"))
    if (more := len(waiting) - MOST_WAITING) > 0:
        lines.append(Text(f"  and {more} more: consul-ebpf status", "dim"))
    return lines
