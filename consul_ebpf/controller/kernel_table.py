"""Plans and writes the kernel's tables, and remembers what they hold. Blocking.

A change of server states is written first and alone: it is a few rows, whatever the
number of proxies. Everything else comes with a round, in two steps: `prepare` plans
without the kernel, which may take long; `program` writes, and between any two of its
steps another change of states may be written.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
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

ROWS_AT_ONCE = 512
"""Most VIPs' rows that are written in one step, in some milliseconds: a server's state
does not wait longer."""

Bound = Mapping[Vip, Binding]
"""The VIPs to program, each with its binding."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned table, and what it was made from."""

    table: Table
    base: Table
    """What the kernel held then. Since then only states may have changed."""
    changed: tuple[Vip, ...]
    """The VIPs whose rows differ: first those that go."""
    bound: Bound
    planned_for: object


class KernelTable:
    """The only writer of a pair of tables; it knows what they hold.

    Args:
        backend: the opened tables. `resume`, `program` and `follow_states` use it; the
            caller must call one at a time.
        seed: given to `plan`, so that hosts prefer different servers.
    """

    def __init__(self, backend: MapBackend, seed: str) -> None:
        self.backend = backend
        """For calls that change no rows: `read`, `stay` and `mend`."""
        self._seed = seed
        self._newest_slot = -1
        self._table = Table()
        self._bound: Bound | None = None
        self._planned_for: object = None
        self._preferences: frozenset[Preference] = frozenset()
        """All preferences in the table."""

    def __repr__(self) -> str:
        return f"<KernelTable {self.backend!r}>"

    @property
    def table(self) -> Table:
        """What the kernel holds, with the servers' names and ids."""
        return self._table

    @property
    def capacity(self) -> int:
        """How many VIPs the table can hold."""
        return self.backend.capacity

    def resume(self) -> KernelState:
        """Read what an earlier process left in the tables, and go on from there."""
        state = self.backend.read()
        self._table = state.table
        self._preferences = frozenset(state.table.vips.values())
        return state

    def prepare(self, servers: Iterable[PooledServer], bound: Bound) -> Planned:
        """Plan a table. Preferences only change if servers or VIPs have changed."""
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
        table = Table(slotted, vips, bindings)
        return Planned(table, base, tuple(_changed(base, table)), bound, planned_for)

    def program(self, planned: Planned) -> Iterator[Applied]:
        """Write a planned table in steps, but keep states written since `prepare`.

        The servers' rows that new preferences need come before them, and those that are
        not needed any more after all others.

        Raises:
            KernelError: the kernel refused a write; prepare and program again.
        """
        self._bound = self._planned_for = None  # until all of it is written
        rest = planned.changed
        while len(rest) > ROWS_AT_ONCE:
            some, rest = rest[:ROWS_AT_ONCE], rest[ROWS_AT_ONCE:]
            yield self._apply(_on_the_way(planned, self._table, some), some)
        yield self._apply(_with_newer_states(planned, self._table), rest)
        self._preferences = frozenset(self._table.vips.values())
        self._bound, self._planned_for = planned.bound, planned.planned_for

    def _apply(self, table: Table, changed: Collection[Vip]) -> Applied:
        with timed("apply"):
            applied = self.backend.apply(table, changed)
        self._newest_slot = given_last(
            self._table.servers, table.servers, self._newest_slot
        )
        self._table = table
        self._preferences |= {table.vips[vip] for vip in changed if vip in table.vips}
        return applied

    def follow_states(self, servers: Iterable[PooledServer]) -> Applied:
        """Write the states of the servers in the table, and nothing else.

        The next round does what needs a new plan: new preferences where servers come,
        drain or leave, and a state that would leave a VIP without a ready server.

        Raises:
            KernelError: the kernel refused a write; the next round repeats it.
        """
        rows = self._table.servers
        newest = assign_slots(servers, rows, self._newest_slot)
        turned = {slot: _turned(row, newest.get(slot)) for slot, row in rows.items()}
        if turned == rows or self._cuts_off(turned):
            return Applied()
        table = replace(self._table, servers=turned)
        return self._apply(table, ())

    def _cuts_off(self, rows: Mapping[int, SlottedServer]) -> bool:
        """Whether a VIP that has a ready server would have none with these rows."""
        before, after = _ready(self._table.servers), _ready(rows)
        if not after:
            return True
        return any(
            after.isdisjoint(preference) and not before.isdisjoint(preference)
            for preference in self._preferences
        )


def _turned(row: SlottedServer, newest: SlottedServer | None) -> SlottedServer:
    """Return a row with its newest state; one whose server left stays."""
    if newest is None or newest.state is row.state:
        return row
    return replace(row, state=newest.state)


def _changed(base: Table, table: Table) -> Iterator[Vip]:
    """Yield the VIPs whose rows differ: those that go first, as a table may be full."""
    if table.vips is not base.vips:
        yield from (vip for vip in base.vips if vip not in table.vips)
    if table.vips is not base.vips or table.bindings is not base.bindings:
        for vip, preference in table.vips.items():
            if base.vips.get(vip) != preference or (
                base.bindings.get(vip) != table.bindings.get(vip)
            ):
                yield vip


def _on_the_way(planned: Planned, now: Table, some: Iterable[Vip]) -> Table:
    """Return what is held now with some rows of the plan, and with what those need."""
    want = planned.table
    vips, bindings = dict(now.vips), dict(now.bindings)
    for vip in some:
        vips.pop(vip, None)
        bindings.pop(vip, None)
        if vip in want.vips:
            vips[vip] = want.vips[vip]
        if vip in want.bindings:
            bindings[vip] = want.bindings[vip]
    target = _with_newer_states(planned, now).servers
    needed = {
        slot: row
        for slot, row in target.items()
        if row.state is ServerState.READY or slot not in now.servers
    }
    return Table({**now.servers, **needed}, vips, bindings)


def _ready(rows: Mapping[int, SlottedServer]) -> set[int]:
    return {slot for slot, row in rows.items() if row.state is ServerState.READY}


def _members(rows: Mapping[int, SlottedServer]) -> object:
    """Return what a plan is made from, without the VIPs and the last plan."""
    usable = {
        slot: row.server.endpoint
        for slot, row in rows.items()
        if row.state is not ServerState.DRAINING
    }
    # If all servers fit into one preference, their states make no difference.
    ready = _ready(rows) if len(usable) > MAX_CHOICES else None
    return usable, ready


def _with_newer_states(planned: Planned, now: Table) -> Table:
    """Return the planned table with the states that were written since then."""
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
