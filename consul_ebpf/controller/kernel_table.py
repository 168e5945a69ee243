"""What the kernel's tables hold, as the process that writes them knows it.

A change of server states goes there first and alone: a few rows, whatever the number
of proxies. All else comes with a round, in two steps: `prepare` plans, without the
kernel, and may take its time; `program` writes. Blocking.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from consul_ebpf.base.timing import timed
from consul_ebpf.model.seams import Applied, MapBackend
from consul_ebpf.model.values import (
    MAX_CHOICES,
    Binding,
    KernelState,
    PooledServer,
    Preference,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.planning.plan import plan
from consul_ebpf.planning.slots import assign_slots, given_last

Bound = Mapping[Vip, Binding]
"""The VIPs to program, each with whose it is."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A table to be programmed, and what it was made from."""

    table: Table
    base: Table
    """What the kernel held then; only states may be others by now."""
    bound: Bound
    planned_for: object


class KernelTable:
    """The one writer's account of the two tables.

    Args:
        backend: the opened tables; this uses it in `resume`, `program` and
            `follow_states`, one at a time.
        seed: the plan's.
    """

    def __init__(self, backend: MapBackend, seed: str) -> None:
        self.backend = backend
        """For what needs no account: `read`, `stay` and `mend`."""
        self._seed = seed
        self._newest_slot = -1
        self._table = Table()
        self._bound: Bound | None = None
        self._planned_for: object = None
        self._preferences: frozenset[Preference] = frozenset()
        """All there are in the table."""

    def __repr__(self) -> str:
        return f"<KernelTable {self.backend!r}>"

    @property
    def table(self) -> Table:
        """What the kernel holds, with the servers' names and ids."""
        return self._table

    @property
    def capacity(self) -> int:
        """How many VIPs fit."""
        return self.backend.capacity

    def resume(self) -> KernelState:
        """Take up what an earlier process left."""
        state = self.backend.read()
        self._hold(state.table)
        return state

    def prepare(self, servers: Iterable[PooledServer], bound: Bound) -> Planned:
        """Plan; only a change of membership or of the VIPs makes another plan."""
        base = self._table
        slotted = assign_slots(servers, base.servers, self._newest_slot)
        same = self._bound is not None and (
            self._bound is bound or self._bound == bound
        )
        vips, planned_for = base.vips, _members(slotted)
        if planned_for != self._planned_for or not (
            same or (self._bound is not None and self._bound.keys() == bound.keys())
        ):
            with timed("plan"):
                vips = plan(bound, slotted, base.vips, self._seed)
        bindings = base.bindings
        if not same:
            bindings = {vip: each for vip, each in bound.items() if each}
        return Planned(Table(slotted, vips, bindings), base, bound, planned_for)

    def program(self, planned: Planned) -> Applied:
        """Write what differs; states that were written since `prepare` stay.

        Raises:
            KernelError: the kernel refused a write; prepare and program again.
        """
        table = _with_newer_states(planned, self._table)
        with timed("apply"):
            applied = self.backend.apply(table)
        self._newest_slot = given_last(
            self._table.servers, table.servers, self._newest_slot
        )
        self._hold(table)
        self._bound, self._planned_for = planned.bound, planned.planned_for
        return applied

    def follow_states(self, servers: Iterable[PooledServer]) -> Applied:
        """Write the states of servers that are in the table, and nothing else.

        Left to the next round is what needs more than that: servers that come, drain
        or leave, and a state with which a VIP would have no ready server.

        Raises:
            KernelError: the kernel refused a write; the next round repeats it.
        """
        rows = self._table.servers
        newest = assign_slots(servers, rows, self._newest_slot)
        turned = {slot: _turned(row, newest.get(slot)) for slot, row in rows.items()}
        if turned == rows or self._cuts_off(turned):
            return Applied()
        table = replace(self._table, servers=turned)
        applied = self.backend.apply(table)
        self._table = table
        return applied

    def _cuts_off(self, rows: Mapping[int, SlottedServer]) -> bool:
        """Whether a VIP that has a ready server would have none."""
        before, after = _ready(self._table.servers), _ready(rows)
        if not after:
            return True
        return any(
            after.isdisjoint(preference) and not before.isdisjoint(preference)
            for preference in self._preferences
        )

    def _hold(self, table: Table) -> None:
        if table.vips is not self._table.vips:
            self._preferences = frozenset(table.vips.values())
        self._table = table


def _turned(row: SlottedServer, newest: SlottedServer | None) -> SlottedServer:
    """Return a row with its newest state, unless that is more than a state."""
    if newest is None or newest.state is row.state:
        return row
    if ServerState.DRAINING in {row.state, newest.state}:
        return row
    return replace(row, state=newest.state)


def _ready(rows: Mapping[int, SlottedServer]) -> set[int]:
    return {slot for slot, row in rows.items() if row.state is ServerState.READY}


def _members(rows: Mapping[int, SlottedServer]) -> object:
    """Return all that a plan is made from, but for VIPs and the last plan."""
    usable = {
        slot: row.server.endpoint
        for slot, row in rows.items()
        if row.state is not ServerState.DRAINING
    }
    # A preference has room for all of a few, whatever their states.
    ready = _ready(rows) if len(usable) > MAX_CHOICES else None
    return usable, ready


def _with_newer_states(planned: Planned, now: Table) -> Table:
    """Return the planned table with the states that were written meanwhile."""
    servers = {
        slot: replace(row, state=now.servers[slot].state)
        if row.state is not ServerState.DRAINING
        and slot in planned.base.servers
        and slot in now.servers
        and now.servers[slot].state is not planned.base.servers[slot].state
        else row
        for slot, row in planned.table.servers.items()
    }
    return replace(planned.table, servers=servers)
