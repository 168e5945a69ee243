"""Decides what to write so that the tables become as wanted, and in which order. Pure.

The order keeps the tables consistent after each write: a server's address is written
before its state says that it is in use, and a row is taken out of use only after the
new preferences are written and no program run follows an old one (`grace`). VIPs are
removed before others are added, so that a full table has room.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from consul_ebpf.model.seams import Applied
from consul_ebpf.model.values import Preference, ServerState, SlottedServer, Table, Vip


@dataclass(frozen=True, slots=True)
class Changes:
    """Writes that make `have` equal `want`, to be done in the order of the fields."""

    servers_fill: tuple[SlottedServer, ...]
    """Rows that get an address: write as EMPTY, then with the state."""
    servers_ready: tuple[SlottedServer, ...]
    """Rows that become ready: one write each."""
    vips_remove: tuple[Vip, ...]
    vips_put: Mapping[Vip, Preference]
    servers_unready: tuple[SlottedServer, ...]
    """Rows whose state changes otherwise: one write each."""
    servers_empty: tuple[int, ...]
    """Slots no longer in use."""

    @property
    def grace(self) -> bool:
        """Whether runs by old preferences must end before the last two are written."""
        return bool(self.vips_put and (self.servers_unready or self.servers_empty))

    @property
    def applied(self) -> Applied:
        """Return the number of writes, as `MapBackend.apply` returns it."""
        servers = (
            self.servers_fill,
            self.servers_ready,
            self.servers_unready,
            self.servers_empty,
        )
        return Applied(
            servers=sum(map(len, servers)),
            vips_put=len(self.vips_put),
            vips_removed=len(self.vips_remove),
        )


def diff(have: Table, want: Table, among: Collection[Vip] | None = None) -> Changes:
    """Return the changes from `have` to `want`.

    Args:
        have: what the kernel holds.
        want: what it is to hold.
        among: the VIPs that may differ; None: any may.
    """
    fill: list[SlottedServer] = []
    ready: list[SlottedServer] = []
    unready: list[SlottedServer] = []
    for slot, entry in want.servers.items():
        old = have.servers.get(slot)
        if old is None or old.endpoint != entry.endpoint:
            fill.append(entry)
        elif old.state is not entry.state:
            (ready if entry.state is ServerState.READY else unready).append(entry)
    if among is None:
        # The same objects are equal: there may be 65,536 proxies to compare.
        same = have.vips is want.vips and have.bindings is want.bindings
        among = () if same else dict.fromkeys([*have.vips, *want.vips])
    return Changes(
        servers_fill=tuple(fill),
        servers_ready=tuple(ready),
        vips_remove=tuple(v for v in among if v not in want.vips and v in have.vips),
        vips_put={
            vip: want.vips[vip]
            for vip in among
            if vip in want.vips
            and (
                have.vips.get(vip) != want.vips[vip]
                or have.bindings.get(vip) != want.bindings.get(vip)
            )
        },
        servers_unready=tuple(unready),
        servers_empty=tuple(slot for slot in have.servers if slot not in want.servers),
    )
