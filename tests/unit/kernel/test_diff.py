"""The writes that make one table another, and every moment between them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf import (
    Binding,
    Preference,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.kernel.diff import Changes, diff

VIPS = [Vip(IPv4Address("127.64.0.1") + n, 8502) for n in range(4)]
SERVERS = [Server.at(f"10.0.0.{n}", 8502) for n in range(1, 5)]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw a table whose preferences name only slots in use."""
    slots = draw(st.lists(st.integers(0, 5), max_size=4, unique=True))
    rows = {
        slot: SlottedServer(
            slot, draw(st.sampled_from(SERVERS)), draw(st.sampled_from(ServerState))
        )
        for slot in slots
    }
    choices = st.lists(st.sampled_from(slots), unique=True) if slots else st.just([])
    vips = draw(st.lists(st.sampled_from(VIPS), unique=True))
    return Table(rows, {vip: tuple(draw(choices)) for vip in vips})


@dataclass
class Held:
    """What a kernel holds: a row without a state is EMPTY."""

    rows: dict[int, tuple[Server, ServerState | None]] = field(default_factory=dict)
    vips: dict[Vip, Preference] = field(default_factory=dict)


def carry_out(changes: Changes, held: Held) -> Iterator[str]:
    """Do the writes as `BccMapBackend` does, and stop after each."""
    for entry in changes.servers_fill:
        held.rows[entry.slot] = (entry.server, None)
        yield "fill"
        held.rows[entry.slot] = (entry.server, entry.state)
        yield "filled"
    for entry in changes.servers_ready:
        held.rows[entry.slot] = (entry.server, entry.state)
        yield "ready"
    for vip in changes.vips_remove:
        del held.vips[vip]
        yield "remove"
    for vip, preference in changes.vips_put.items():
        held.vips[vip] = preference
        yield "put"
    for entry in changes.servers_unready:
        held.rows[entry.slot] = (entry.server, entry.state)
        yield "unready"
    for slot in changes.servers_empty:
        del held.rows[slot]
        yield "empty"


def endpoints(table: Table) -> dict[int, tuple[str, ServerState]]:
    return {s: (row.server.endpoint, row.state) for s, row in table.servers.items()}


@given(tables(), tables())
def test_the_changes_lead_from_one_table_to_the_other(have: Table, want: Table) -> None:
    """Whatever the two are; and then there is nothing left to change."""
    held = Held(
        {slot: (row.server, row.state) for slot, row in have.servers.items()},
        dict(have.vips),
    )
    for _ in carry_out(diff(have, want), held):
        pass
    reached = {slot: (server.endpoint, s) for slot, (server, s) in held.rows.items()}
    assert reached == endpoints(want)
    assert held.vips == want.vips
    assert not diff(want, want).applied


@given(tables(), tables())
def test_each_moment_has_the_old_preference_or_the_new(
    have: Table, want: Table
) -> None:
    """A VIP that stays is never missing, and its slots are rows there are."""
    held = Held(
        {slot: (row.server, row.state) for slot, row in have.servers.items()},
        dict(have.vips),
    )
    for _ in carry_out(diff(have, want), held):
        for vip in have.vips.keys() & want.vips.keys():
            assert held.vips[vip] in {have.vips[vip], want.vips[vip]}
        for preference in held.vips.values():
            assert set(preference) <= held.rows.keys()


@given(tables(), tables())
def test_an_address_changes_only_under_a_row_that_is_empty(
    have: Table, want: Table
) -> None:
    """The first write of a new address is one that nobody follows."""
    before = {slot: (row.server, row.state) for slot, row in have.servers.items()}
    held = Held(dict(before), dict(have.vips))
    addresses = {slot: server for slot, (server, _) in before.items()}
    for step in carry_out(diff(have, want), held):
        for slot, (server, state) in held.rows.items():
            if addresses.get(slot) != server:
                assert (step, state) == ("fill", None)
        addresses = {slot: server for slot, (server, _) in held.rows.items()}


def test_a_death_needs_no_grace_and_a_changed_plan_does() -> None:
    """Waiting for readers is for preferences that change with the rows they name."""
    rows = {n: SlottedServer(n, SERVERS[n], ServerState.READY) for n in range(2)}
    dead = {**rows, 1: replace(rows[1], state=ServerState.FAILING)}
    have = Table(rows, {VIPS[0]: (1, 0)})
    assert not diff(have, Table(dead, have.vips)).grace
    assert diff(have, Table({0: rows[0]}, {VIPS[0]: (0,)})).grace


def test_a_server_that_only_got_a_name_is_not_written() -> None:
    """Ids, names and versions are not in the kernel."""
    row = SlottedServer(0, SERVERS[0], ServerState.READY)
    named = replace(row, server=replace(SERVERS[0], id="x", name="y", version="1"))
    assert not diff(Table({0: row}), Table({0: named})).applied


def test_a_new_binding_alone_is_a_change() -> None:
    """The VIP's row is written, and nothing else."""
    vips = {VIPS[0]: (), VIPS[1]: ()}
    have = Table({}, vips, {VIPS[0]: Binding(netns=1)})
    assert not diff(have, have).applied
    changes = diff(have, Table({}, vips, {VIPS[0]: Binding(netns=2)}))
    assert changes.vips_put == {VIPS[0]: ()}
    assert diff(have, Table({}, vips)).vips_put == {VIPS[0]: ()}
