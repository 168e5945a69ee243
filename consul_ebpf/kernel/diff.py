"""PURE: what the tables hold, what is wanted -> what to write, in order.

The order makes every moment in between consistent: a server's address is written
before its state says it is in use, new VIPs come before old ones go, and a row is
emptied only when no preference names it any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from consul_ebpf._protocols import Applied
from consul_ebpf._values import Preference, SlottedServer, Table, Vip


@dataclass(frozen=True, slots=True)
class Changes:
    """Writes that make `have` equal `want`, to be done in the order of the fields."""

    servers_fill: tuple[SlottedServer, ...]
    """Rows that get an address: write as EMPTY, then with the state."""
    servers_state: tuple[SlottedServer, ...]
    """Rows whose state changes: one write each."""
    vips_remove: tuple[Vip, ...]
    vips_put: Mapping[Vip, Preference]
    servers_empty: tuple[int, ...]
    """Slots no longer in use."""

    @property
    def applied(self) -> Applied:
        """Count them, as `MapBackend.apply` returns it."""
        servers = len(self.servers_fill) + len(self.servers_state)
        return Applied(
            servers=servers + len(self.servers_empty),
            vips_put=len(self.vips_put),
            vips_removed=len(self.vips_remove),
        )


def _same_endpoint(one: SlottedServer, other: SlottedServer) -> bool:
    a, b = one.server, other.server
    return (a.ipv4, a.ipv6, a.port) == (b.ipv4, b.ipv6, b.port)


def diff(have: Table, want: Table) -> Changes:
    """Compute the changes; everything equal is left out."""
    fill, state = [], []
    for slot, entry in want.servers.items():
        old = have.servers.get(slot)
        if old is None or not _same_endpoint(old, entry):
            fill.append(entry)
        elif old.state is not entry.state:
            state.append(entry)
    return Changes(
        servers_fill=tuple(fill),
        servers_state=tuple(state),
        vips_remove=tuple(vip for vip in have.vips if vip not in want.vips),
        vips_put={
            vip: preference
            for vip, preference in want.vips.items()
            if have.vips.get(vip) != preference
        },
        servers_empty=tuple(slot for slot in have.servers if slot not in want.servers),
    )
