"""The page at the endpoint's `/`: a status as HTML, for people. Pure but for its file.

All that is shown is escaped here: proxies' names and errors come from elsewhere.
"""

import base64
import datetime as dt
import functools
import hashlib
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources

from consul_ebpf.base.lines import one_line
from consul_ebpf.model.values import host_port
from consul_ebpf.views.ailments import MEANINGS, Ailment
from consul_ebpf.views.deaths import LostServer
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.servers import ServerStatus
from consul_ebpf.views.status import ProxyStatus, Status
from consul_ebpf.views.wording import listed, words_of

MOST_PROXIES = 600
"""Proxies that are shown; the others are counted."""

MOST_HAPPENINGS = 50
"""Happenings that are shown: the newest."""

LONGEST_TEXT = 300
"""Characters of a text from elsewhere."""

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


def page_of(status: Status, host: str) -> str:
    """Return the whole page."""
    return template().replace(_PLACE, main_of(status, host))


def main_of(status: Status, host: str) -> str:
    """Return what changes of the page: one `main` element."""
    verdict = status.verdict
    shown = sorted(status.proxies, key=lambda each: (each.active, each.id, each.vip))
    rest = len(shown) - MOST_PROXIES
    del shown[MOST_PROXIES:]
    parts = [
        f"<main><h1>consul-ebpf on {_text(host)}</h1>",
        f'<p><span class="badge {verdict.level.value}">{verdict.level.value}</span> ',
        f"{_text(verdict.summary)}; {_text(MEANINGS[verdict.level])}</p>",
        *_ailments(verdict.ailments),
        "<h2>Consul servers, and the proxies on each</h2>",
        '<div class="servers">',
        *(_server(status, each, shown) for each in status.servers),
        *map(_lost, status.lost),
        *_elsewhere(status, shown),
        "</div>",
        f'<p class="dim">{rest} more proxies are not shown.</p>' if rest > 0 else "",
        "<h2>What happened, the newest first</h2>",
        *_timeline(status.timeline),
        "<h2>The same as tables</h2>",
        *_tables(status, shown),
        "</main>",
    ]
    return "".join(parts)


def _text(text: object) -> str:
    return html.escape(one_line(text, LONGEST_TEXT))


def _number(proxies: int) -> str:
    return "1 proxy" if proxies == 1 else f"{proxies} proxies"


def _time(at: float) -> str:
    """Return a moment; empty: it is 0, so not known."""
    if not at:
        return ""
    local = dt.datetime.fromtimestamp(int(at), dt.UTC).astimezone()
    shown = local.strftime("%m-%d %H:%M:%S")
    return f'<time datetime="{local.isoformat()}">{shown}</time>'


def _ailments(ailments: Sequence[Ailment]) -> Iterator[str]:
    if not ailments:
        return
    yield '<ul class="ailments">'
    for each in ailments[:MOST_HAPPENINGS]:
        since = f" since {_time(each.since)}" if each.since else ""
        yield f'<li class="{each.level.value}"><strong>{_text(each.what)}</strong>'
        yield f"{since}<span>{_text(each.do)}</span></li>"
    yield "</ul>"


def _server(
    status: Status, server: ServerStatus, proxies: Iterable[ProxyStatus]
) -> str:
    """Return a server's column."""
    endpoint = host_port(server.address, server.port)
    total = sum(each.active for each in status.servers) or 1
    here = [each for each in proxies if each.active and each.server == endpoint]
    state = _text(server.state)
    since = f"since {_time(server.since)}" if server.since else ""
    return (
        f'<section class="server {state}"><h3>{_text(endpoint)}</h3>'
        f'<p><span class="badge">{state}</span> <span class="dim">{since}</span></p>'
        f'<meter min="0" max="{total}" value="{server.active}"></meter>'
        f'<div class="dim">{_number(server.active)}, {server.connects} connects,'
        f" {server.failures} failures</div>{_chips(status, here)}</section>"
    )


def _lost(server: LostServer) -> str:
    """Return the column of a server that died, and that Consul lists no more."""
    left = ""
    if server.left.count:
        left = f"{listed(server.left.proxies, server.left.count)} went to others"
    return (
        f'<section class="server failing"><h3>{_text(server.server)}</h3>'
        f'<p><span class="badge">died</span> <span class="dim">since'
        f" {_time(server.since)}; Consul lists it no more</span></p>"
        f'<div class="dim">{_text(left)}</div></section>'
    )


def _elsewhere(status: Status, proxies: Iterable[ProxyStatus]) -> Iterator[str]:
    """Yield a column of the proxies that lost their connection or never had one."""
    off = [each for each in proxies if not each.active]
    columns = {
        "lost": ("Not connected", [each for each in off if each.connects]),
        "never": ("Never connected yet", [each for each in off if not each.connects]),
    }
    for kind, (title, found) in columns.items():
        if found:
            yield f'<section class="server {kind}"><h3>{title}</h3>'
            yield f'<div class="dim">{_number(len(found))}</div>'
            yield f"{_chips(status, found)}</section>"


def _chips(status: Status, proxies: Sequence[ProxyStatus]) -> str:
    if not proxies:
        return '<p class="dim">no proxy is here</p>'
    chips = []
    for each in proxies:
        wrong = ' class="wrong"' if status.problems.get(each.id) else ""
        name = _text(each.id or each.vip)
        chips.append(f'<li data-key="{_text(each.vip)}"{wrong}>{name}</li>')
    return f"<ul>{''.join(chips)}</ul>"


def _timeline(timeline: Sequence[Happening]) -> Iterator[str]:
    if not timeline:
        yield '<p class="dim">nothing yet</p>'
        return
    yield '<ol class="timeline">'
    for each in reversed(timeline[-MOST_HAPPENINGS:]):
        kind = _text(each.kind)
        yield f'<li class="{kind}">{_time(each.at)}<span>{_text(words_of(each))}</span>'
        yield "</li>"
    yield "</ol>"


def _tables(status: Status, proxies: Sequence[ProxyStatus]) -> Iterator[str]:
    servers = [
        [
            _text(host_port(each.address, each.port)),
            _text(each.state),
            _time(each.since) or "-",
            str(each.active),
            str(each.connects),
            str(each.failures),
        ]
        for each in status.servers
    ]
    heads = ["server", "state", "since", "proxies", "connects", "failures"]
    yield _table("servers", "Servers", heads, servers)
    heads = [
        *("proxy", "VIP", "server", "connected", "since"),
        *("moves", "connects", "failures", "problems"),
    ]
    rows = [
        [
            _text(each.id or "(unknown)"),
            _text(each.vip),
            _text(each.server or "-"),
            "yes" if each.active else "no",
            _time(each.since) or "-",
            str(each.moves),
            str(each.connects),
            str(each.failures),
            "<br/>".join(map(_text, status.problems.get(each.id, []))),
        ]
        for each in proxies
    ]
    yield _table("proxies", "Proxies", heads, rows)


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
