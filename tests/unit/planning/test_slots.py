"""Who has which slot."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.values import (
    PooledServer,
    Server,
    ServerState,
    Service,
    SlottedServer,
)
from consul_ebpf.planning.slots import SLOT_COUNT, assign_slots, given_last

READY, FAILING, DRAINING = ServerState.READY, ServerState.FAILING, ServerState.DRAINING

DNS = Service("dns", 8600)

NUMBERS = st.lists(st.integers(1, 40), unique=True)


def member(number: int, state: ServerState = READY) -> PooledServer:
    return PooledServer(Server.at(f"10.0.0.{number}", 8502), state)


def pool(*numbers: int) -> list[PooledServer]:
    return [member(number) for number in numbers]


def dns(number: int, state: ServerState = READY) -> PooledServer:
    return replace(member(number, state), service=DNS)


def by_endpoint(slots: dict[int, SlottedServer]) -> dict[str, int]:
    return {entry.server.endpoint: slot for slot, entry in slots.items()}


def test_first_slots_are_in_the_pools_order() -> None:
    """From 0."""
    assert {"10.0.0.3:8502": 0, "10.0.0.1:8502": 1} == by_endpoint(
        assign_slots(pool(3, 1), {})
    )


@given(NUMBERS, NUMBERS)
def test_who_stays_keeps_its_slot_and_each_has_one(
    before: list[int], after: list[int]
) -> None:
    """Whoever comes and goes; each slot is one server's, and the row says which."""
    last = assign_slots(pool(*before), {})
    slots = assign_slots(pool(*after), last)
    assert {f"10.0.0.{n}:8502" for n in after} == set(by_endpoint(slots))
    assert len(after) == len(slots)
    assert all(slot == entry.slot for slot, entry in slots.items())
    held = by_endpoint(last)
    for endpoint, slot in by_endpoint(slots).items():
        assert held.get(endpoint, slot) == slot
        assert endpoint in held or slot not in last


def test_a_state_moves_no_one() -> None:
    """It is in the row."""
    last = assign_slots(pool(1, 2, 3), {})
    now = [member(3), member(2, DRAINING), member(1, FAILING)]
    slots = assign_slots(now, last)
    assert [FAILING, DRAINING, READY] == [slots[n].state for n in range(3)]


def test_a_server_read_from_the_kernel_is_known_by_its_endpoint() -> None:
    """The kernel knows no ids; a restart moves nobody."""
    nameless = Server("slot 7", 8502, IPv4Address("10.0.0.1"))
    last = {7: SlottedServer(7, nameless, READY)}
    named = Server("b0a1", 8502, IPv4Address("10.0.0.1"), version="1.22", name="s1")
    assert {7: SlottedServer(7, named, READY)} == assign_slots(
        [PooledServer(named, READY)], last
    )


def test_another_port_or_family_is_another_server() -> None:
    """A row's address changes only while nobody is sent there: a slot of its own."""
    last = assign_slots(pool(1), {})
    moved = replace(last[0].server, port=8503)
    both = replace(last[0].server, ipv6=IPv6Address("fd00::1"))
    for server in (moved, both):
        assert [1] == list(assign_slots([PooledServer(server, READY)], last))


def test_of_two_at_one_endpoint_the_first_counts() -> None:
    """Consul lists a replaced node twice for a while; it gets one slot."""
    twin = replace(member(1, FAILING).server, id="other")
    slots = assign_slots([member(1), PooledServer(twin, FAILING)], {})
    assert {0: SlottedServer(0, member(1).server, READY)} == slots


def test_a_freed_slot_is_given_again_as_late_as_possible() -> None:
    """All others come first, though lower ones are free."""
    slots: dict[int, SlottedServer] = {}
    newest, given_out = -1, []
    for number in range(SLOT_COUNT + 2):
        (address,) = [f"10.1.{number // 250}.{number % 250 + 1}"]
        server = PooledServer(Server.at(address, 8502), READY)
        slots = assign_slots([server], slots, newest)
        (newest,) = slots
        given_out.append(newest)
    assert [*range(SLOT_COUNT), 0, 1] == given_out


def test_a_slot_is_not_given_again_in_the_very_change_that_frees_it() -> None:
    """Its row must be empty first."""
    last = assign_slots(pool(*range(1, 41)), {})
    assert set(range(40, 80)).issuperset(
        assign_slots([member(n) for n in range(41, 61)], last)
    )


def test_servers_without_a_free_slot_wait() -> None:
    """Where all are held; the next change frees some."""
    many = [PooledServer(Server.at("10.0.0.1", 1 + n), READY) for n in range(255)]
    full = assign_slots(many, {})
    assert SLOT_COUNT == len(full)
    assert {} == assign_slots(pool(9), full)
    assert {0} == set(assign_slots(pool(9), {}))


def test_servers_stay_ready_when_suddenly_none_is() -> None:
    """A start where no probe gets through cuts nothing off; a ready one ends that."""
    last = assign_slots(pool(1, 2), {})
    none_ready = assign_slots([member(1, FAILING), member(2, FAILING)], last)
    assert [READY, READY] == [entry.state for entry in none_ready.values()]
    one_ready = assign_slots([member(1, FAILING), member(2)], none_ready)
    assert [FAILING, READY] == [entry.state for entry in one_ready.values()]


def test_two_services_of_one_server_have_a_slot_each() -> None:
    """Whichever comes or goes, the other keeps its own."""
    both = assign_slots([member(1), dns(1), dns(2), member(2)], {})
    assert [8502, 8600, 8600, 8502] == [both[n].endpoint[2] for n in range(4)]
    one = assign_slots([dns(2), dns(1, FAILING), member(2)], both)
    assert {n: both[n].endpoint for n in (1, 2, 3)} == {
        n: entry.endpoint for n, entry in one.items()
    }
    again = assign_slots([member(1), dns(1), member(2), dns(2)], one, newest=3)
    assert {1, 2, 3, 4} == set(again)
    assert (member(1).server, 8502) == (again[4].server, again[4].endpoint[2])


def test_a_service_read_from_the_kernel_is_known_by_its_port() -> None:
    """The kernel knows no services; a restart moves no row, and says which it is."""
    last = {
        5: SlottedServer(5, Server("slot 5", 8600, IPv4Address("10.0.0.1")), READY),
        6: SlottedServer(6, Server("slot 6", 8502, IPv4Address("10.0.0.1")), READY),
    }
    assert {
        5: SlottedServer(5, member(1).server, READY, DNS),
        6: SlottedServer(6, member(1).server, READY),
    } == assign_slots([member(1), dns(1)], last)


def test_a_service_stays_ready_when_suddenly_it_is_nowhere() -> None:
    """Another service that is ready says nothing of it."""
    last = assign_slots([member(1), dns(1)], {})
    no_dns = assign_slots([member(1), dns(1, FAILING)], last)
    assert [READY, READY] == [entry.state for entry in no_dns.values()]
    no_grpc = assign_slots([member(1, FAILING), dns(1), dns(2, FAILING)], last)
    assert [READY, READY, FAILING] == [entry.state for entry in no_grpc.values()]


def test_the_slot_given_last_is_known_after_a_wrap_around() -> None:
    """It is the last in the order of giving, not the highest."""
    last = {253: SlottedServer(253, Server.at("10.0.0.1", 8502), READY)}
    now = assign_slots(pool(1, 2, 3, 4), last, newest=253)
    assert {253, 254, 0, 1} == set(now)
    assert 1 == given_last(last, now, 253)
    assert 1 == given_last(now, now, 1)
