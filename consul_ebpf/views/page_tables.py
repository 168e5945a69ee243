"""The tables of the page, for whom there is no picture. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from consul_ebpf.model.values import host_port
from consul_ebpf.views.markup import rate_of, text_of, time_of
from consul_ebpf.views.status import ProxyStatus, Status

MOST_VOLUMES = 600
"""Volumes that are shown."""


def tables_of(
    status: Status, proxies: Sequence[ProxyStatus], rates: Mapping[str, float]
) -> Iterator[str]:
    """Yield the tables of servers, of these proxies, and of a node's pods."""
    servers = [
        [
            text_of(host_port(each.address, each.port)),
            text_of(each.state),
            time_of(each.since) or "-",
            str(each.active),
            rate_of(rates, host_port(each.address, each.port)),
            str(each.connects),
            str(each.failures),
        ]
        for each in status.shown_servers
    ]
    heads = [
        *("server", "state", "since", "proxies"),
        *("connects/s", "connects", "failures"),
    ]
    yield _table("servers", "Servers", heads, servers)
    heads = [
        *("proxy", "VIP", "server", "connected", "since"),
        *("moves", "connects", "failures", "problems"),
    ]
    rows = [
        [
            text_of(each.id or "(unknown)"),
            text_of(each.vip),
            text_of(each.server or "-"),
            "yes" if each.active else "no",
            time_of(each.since) or "-",
            str(each.moves),
            str(each.connects),
            str(each.failures),
            "<br/>".join(map(text_of, status.problems.get(each.id, []))),
        ]
        for each in proxies
    ]
    yield _table("proxies", "Proxies", heads, rows)
    if status.kubernetes:
        heads = ["pod", "proxy", "published", "waits for"]
        volumes = sorted(status.kubernetes.volumes, key=lambda each: not each.waits)
        rows = [
            [
                text_of(each.pod),
                text_of(each.proxy),
                "yes" if each.published else "no",
                "<br/>".join(map(text_of, each.problems)) or "-",
            ]
            for each in volumes[:MOST_VOLUMES]
        ]
        title = f"Pods' volumes: {len(volumes)}, those that wait first"
        yield _table("volumes", title, heads, rows)


def _table(
    name: str, title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f'<details id="table-{name}" open=""><summary>{title}</summary>'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )
