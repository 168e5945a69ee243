"""What a snapshot tells of DNS."""

from dataclasses import dataclass

from consul_ebpf.views.servers import servers_of
from consul_ebpf.views.snapshot import ServiceAccount


@dataclass(frozen=True, slots=True)
class DnsServerStatus:
    """One row of the server table of DNS."""

    address: str
    port: int
    slot: int
    state: str
    queries: int
    """Queries sent to it since the row was filled; of a connected socket, the first."""
    unanswered: int
    """Of these, those that were not answered in time, where that can be known."""


@dataclass(frozen=True, slots=True)
class DnsStatus:
    """The VIP of DNS, and the servers it leads to."""

    vip: str
    """`address:port`; empty: the controller has not written it yet."""
    attached: bool
    """Whether all hooks are attached to a cgroup that exists."""
    queries: int
    """Queries to the VIP."""
    moved: int
    """Of these, those led past a server that had not answered the last one."""
    servers: list[DnsServerStatus]
    """By slot."""


def dns_of(account: ServiceAccount) -> DnsStatus:
    """Return what is shown of DNS. Pure."""
    tables = account.tables
    vips = list(tables.vips.values())
    return DnsStatus(
        vip=str(next(iter(tables.vips), "")),
        attached=account.attached,
        queries=sum(row.connects for row in vips),
        moved=sum(row.failures for row in vips),
        servers=[
            DnsServerStatus(
                each.address,
                each.port,
                each.slot,
                each.state,
                queries=each.connects,
                unanswered=each.failures,
            )
            for each in servers_of(account, frozenset())
        ],
    )
