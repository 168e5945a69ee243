"""What the tables of `status` hold. Pure."""

from collections.abc import Iterator

from consul_ebpf.cli.durations import ago
from consul_ebpf.cli.keys import ORDERS, state_of
from consul_ebpf.cli.tables import Columns, made_of
from consul_ebpf.model.values import host_port
from consul_ebpf.views.deaths import LostServer
from consul_ebpf.views.dns import DnsServerStatus
from consul_ebpf.views.pods import VolumeStatus
from consul_ebpf.views.servers import ServerStatus
from consul_ebpf.views.status import ProxyStatus, Status

SERVER_COLUMNS = ("server", "state", "for", "proxies", "connects", "failures", "slot")
"""The columns of the table of servers."""

DNS_COLUMNS = ("server", "state", "queries", "unanswered", "slot")
"""The columns of the table of the servers' DNS."""

PROXY_COLUMNS = (
    *("proxy", "VIP", "server", "state", "for", "moves", "connects", "bound"),
    *("admin", "preference"),
)
"""The columns of the table of proxies; `server` is where its newest connect went."""

FEWER_PROXY_COLUMNS = ("preference", "admin", "bound", "connects", "moves", "VIP")
"""Those that a narrow terminal does not show, the first to go first."""

VOLUME_COLUMNS = ("pod", "proxy", "published", "waits for")
"""The columns of the table of pods' volumes."""


def server_row(each: ServerStatus, at: float) -> tuple[str, ...]:
    """Return the texts of a server, by `SERVER_COLUMNS`."""
    counts = (each.active, each.connects, each.failures, each.slot)
    where = host_port(each.address, each.port)
    return (where, each.state, ago(at, each.since), *map(str, counts))


def lost_row(each: LostServer, at: float) -> tuple[str, ...]:
    """Return the texts of a server that is in no table any more."""
    return (each.server, "died", ago(at, each.since), "0", "-", "-", "-")


def dns_row(each: DnsServerStatus) -> tuple[str, ...]:
    """Return the texts of a server's DNS, by `DNS_COLUMNS`."""
    counts = (each.queries, each.unanswered, each.slot)
    return (host_port(each.address, each.port), each.state, *map(str, counts))


def stay_of(proxy: ProxyStatus, at: float) -> tuple[str, str]:
    """Return a proxy's state, and for how long it is so: `-` where nobody knows.

    Of one that is not connected its newest try is known: one that tries again and again
    has an Envoy that runs.
    """
    since = ago(at, proxy.since)
    if proxy.active or not proxy.since:
        return state_of(proxy), since
    return f"{state_of(proxy)}, tried {since} ago", "-"


def proxy_row(each: ProxyStatus, at: float) -> tuple[str, ...]:
    """Return the texts of a proxy, by `PROXY_COLUMNS`."""
    return (
        each.id or "(unknown)",
        each.vip,
        each.server or "-",
        stay_of(each, at)[0],
        stay_of(each, at)[1],
        str(each.moves),
        str(each.connects),
        "+".join(each.bound) or "no",
        each.admin or "-",
        " ".join(each.preference) or "-",
    )


def volume_row(each: VolumeStatus) -> tuple[str, ...]:
    """Return the texts of a pod's volume, by `VOLUME_COLUMNS`."""
    published = "yes" if each.published else "no"
    return (each.pod, each.proxy, published, "; ".join(each.problems) or "-")


def tables_of(shown: Status, at: float) -> Iterator[tuple[str, Columns]]:
    """Yield each table with its title. Pure."""
    servers = [server_row(each, at) for each in shown.shown_servers]
    servers += [lost_row(each, at) for each in shown.lost]
    yield "Consul servers", Columns(made_of(servers, SERVER_COLUMNS), 2, ("slot",))
    wrong_first = sorted(shown.proxies, key=ORDERS["state"])
    proxies = [proxy_row(each, at) for each in wrong_first]
    cells = made_of(proxies, PROXY_COLUMNS)
    yield "Proxies", Columns(cells, len(PROXY_COLUMNS), FEWER_PROXY_COLUMNS)
    if shown.dns is not None:
        rows = [dns_row(each) for each in shown.shown_dns_servers]
        yield f"DNS by {shown.dns.vip}", Columns(made_of(rows, DNS_COLUMNS), 2)
    if shown.kubernetes is not None:
        rows = [volume_row(each) for each in shown.kubernetes.volumes]
        yield "Pods' volumes", Columns(made_of(rows, VOLUME_COLUMNS), 4)
