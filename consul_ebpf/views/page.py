"""The page at the endpoint's `/`: a status as HTML, for people. Pure but for its file.

All that is shown is escaped here: proxies' names and errors come from elsewhere.
"""

import base64
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from types import MappingProxyType

from consul_ebpf.model.values import host_port
from consul_ebpf.views.ailments import MEANINGS, Ailment
from consul_ebpf.views.deaths import LostServer
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.markup import rate_of, text_of, time_of
from consul_ebpf.views.page_tables import tables_of
from consul_ebpf.views.pods import NodeStatus
from consul_ebpf.views.servers import ServerStatus
from consul_ebpf.views.status import ProxyStatus, Status
from consul_ebpf.views.wording import listed, words_of

MOST_PROXIES = 600
"""Proxies that are shown; the others are counted."""

MOST_HAPPENINGS = 50
"""Happenings that are shown: the newest."""

_PLACE = "<!--main-->"


@functools.cache
def template() -> str:
    """Return the page without what changes: style, script, and a place for it."""
    return (resources.files(__package__) / "page.html").read_text("utf-8")


@functools.cache
def policy() -> str:
    """Return the page's Content-Security-Policy: its own style and script, no other."""
    allowed = [
        f"{kind}-src 'sha256-{_digest(tag)}'"
        for kind, tag in (("style", "style"), ("script", "script"))
    ]
    nothing = ("default-src", "base-uri", "form-action", "frame-ancestors")
    denied = [f"{each} 'none'" for each in nothing]
    return "; ".join([*denied, *allowed, "connect-src 'self'"])


def _digest(tag: str) -> str:
    (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", template(), re.DOTALL)
    return base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()


def page_of(main: str) -> str:
    """Return the whole page with this `main` element."""
    return template().replace(_PLACE, main)


def main_of(
    status: Status, host: str, rates: Mapping[str, float] = MappingProxyType({})
) -> str:
    """Return what changes of the page: one `main` element.

    Args:
        status: what is shown.
        host: this host's name.
        rates: connects a second by the server's `address:port`; empty: not known yet.
    """
    verdict = status.verdict
    shown = sorted(status.proxies, key=lambda each: (each.active, each.id, each.vip))
    rest = len(shown) - MOST_PROXIES
    del shown[MOST_PROXIES:]
    parts = [
        f"<main><h1>consul-ebpf on {text_of(host)}</h1>",
        f'<p><span class="badge {verdict.level.value}">{verdict.level.value}</span> ',
        f"{text_of(verdict.summary)}; {text_of(MEANINGS[verdict.level])}</p>",
        *_ailments(verdict.ailments),
        "<h2>Consul servers, and the proxies on each</h2>",
        '<div class="servers">',
        *_off(status, "lost", shown),
        *(_server(status, each, shown, rates) for each in status.shown_servers),
        *(_lost(status, each) for each in status.lost),
        *_off(status, "never", shown),
        *(_waiting(status.kubernetes) if status.kubernetes else ()),
        "</div>",
        f'<p class="dim">{rest} more proxies are not shown.</p>' if rest > 0 else "",
        "<h2>What happened, the newest first</h2>",
        *_timeline(status.timeline),
        "<h2>The same as tables</h2>",
        *tables_of(status, shown, rates),
        "</main>",
    ]
    return "".join(parts)


def _number(proxies: int) -> str:
    return "1 proxy" if proxies == 1 else f"{proxies} proxies"


def _ailments(ailments: Sequence[Ailment]) -> Iterator[str]:
    if not ailments:
        return
    yield '<ul class="ailments">'
    for each in ailments[:MOST_HAPPENINGS]:
        since = f" since {time_of(each.since)}" if each.since else ""
        level = each.level.value
        yield f'<li class="{level}"><b class="badge">{level}</b> '
        yield f"<strong>{text_of(each.what)}</strong>{since}"
        if each.means:
            yield f"<span>{text_of(each.means)}</span>"
        yield f"<span>→ {text_of(each.do)}</span></li>"
    yield "</ul>"


def _server(
    status: Status,
    server: ServerStatus,
    proxies: Iterable[ProxyStatus],
    rates: Mapping[str, float],
) -> str:
    """Return a server's column."""
    endpoint = host_port(server.address, server.port)
    total = sum(each.active for each in status.servers) or 1
    here = [each for each in proxies if each.active and each.server == endpoint]
    state = text_of(server.state)
    since = f"since {time_of(server.since)}" if server.since else ""
    return (
        f'<section class="server {state}"><h3>{text_of(endpoint)}</h3>'
        f'<p><span class="badge">{state}</span> <span class="dim">{since}</span></p>'
        f'<meter min="0" max="{total}" value="{server.active}"></meter>'
        f'<div class="dim">{_number(server.active)}, {rate_of(rates, endpoint)}'
        f" connects/s</div>{_chips(status, here)}</section>"
    )


def _lost(status: Status, server: LostServer) -> str:
    """Return the column of a server that died, and that Consul lists no more."""
    gone, left = server.left.without(status.unconnected), ""
    if gone.count:
        left = f"{listed(gone.proxies, gone.count)} went to others"
    return (
        f'<section class="server failing"><h3>{text_of(server.server)}</h3>'
        f'<p><span class="badge">died</span> <span class="dim">since'
        f" {time_of(server.since)}; Consul lists it no more</span></p>"
        f'<div class="dim">{text_of(left)}</div></section>'
    )


def _off(status: Status, kind: str, proxies: Iterable[ProxyStatus]) -> Iterator[str]:
    """Yield a column of proxies that are on no server: `lost`, or `never` connected."""
    found = [
        each
        for each in proxies
        if not each.active and bool(each.connects) == (kind == "lost")
    ]
    if found:
        title = "Not connected" if kind == "lost" else "Never connected yet"
        yield f'<section class="server {kind}"><h3>{title}</h3>'
        yield f'<div class="dim">{_number(len(found))}</div>'
        yield f"{_chips(status, found)}</section>"


def _waiting(node: NodeStatus) -> Iterator[str]:
    """Yield a column of the pods whose volumes wait."""
    found = [each for each in node.volumes if each.waits]
    if found:
        pods = "".join(f"<li>{text_of(each.pod)}</li>" for each in found[:MOST_PROXIES])
        yield '<section class="server never"><h3>Pods that wait</h3>'
        yield f'<div class="dim">{len(found)} of {len(node.volumes)} volumes</div>'
        yield f"<ul>{pods}</ul></section>"


def _chips(status: Status, proxies: Sequence[ProxyStatus]) -> str:
    if not proxies:
        return '<p class="dim">no proxy is here</p>'
    chips = []
    for each in proxies:
        wrong = ' class="wrong"' if status.problems.get(each.id) else ""
        name = text_of(each.id or each.vip)
        chips.append(f'<li data-key="{text_of(each.vip)}"{wrong}>{name}</li>')
    return f"<ul>{''.join(chips)}</ul>"


def _timeline(timeline: Sequence[Happening]) -> Iterator[str]:
    if not timeline:
        yield '<p class="dim">nothing yet</p>'
        return
    yield '<ol class="timeline">'
    for each in reversed(timeline[-MOST_HAPPENINGS:]):
        kind = text_of(each.kind)
        words = text_of(words_of(each))
        yield f'<li class="{kind}">{time_of(each.at)}<span>{words}</span></li>'
    yield "</ol>"
