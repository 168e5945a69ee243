"""What a snapshot tells of the servers of one service."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from consul_ebpf.views.snapshot import ServiceAccount
from consul_ebpf.views.timeline import StateSince, since


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One row of a server table."""

    address: str
    port: int
    slot: int
    state: str
    connects: int
    """Connects sent to it since the row was filled."""
    active: int
    """Its connections through a VIP that are established now."""
    failures: int
    """Connects after which the proxy soon tried again."""
    since: float = 0.0
    """Unix time since which it is in this state; 0: not known."""


def servers_of(
    account: ServiceAccount,
    established: frozenset[int],
    states: Mapping[str, StateSince] = MappingProxyType({}),
) -> list[ServerStatus]:
    """Return the servers of one service, by slot. Pure.

    Args:
        account: the service's.
        established: cookies of established connections.
        states: since when each has its state, by `address:port`.
    """
    tables = account.tables
    sockets = {each for row in tables.vips.values() for each in row.sockets}
    active = Counter(slot for cookie, slot in sockets if cookie in established)
    return [
        ServerStatus(
            address=str(row.server.address),
            port=row.server.port,
            slot=slot,
            state=row.state.value,
            connects=tables.servers[slot].connects,
            active=active[slot],
            failures=tables.servers[slot].failures,
            since=since(states, row.server.endpoint, row.state.value),
        )
        for slot, row in sorted(tables.table.servers.items())
    ]
