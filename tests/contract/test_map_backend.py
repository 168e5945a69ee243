"""What every `MapBackend` does: the one in memory, and the one in the kernel."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address

import pytest

from consul_ebpf import (
    Applied,
    Binding,
    MapBackend,
    Preference,
    Server,
    ServerState,
    Service,
    SlottedServer,
    Table,
    TableFullError,
    Vip,
)
from consul_ebpf.testing import MemoryMapBackend
from tests.kernel.conftest import Kernel, connect
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

CAPACITY = 1100
READY, FAILING = ServerState.READY, ServerState.FAILING


@dataclass
class Opened:
    """A backend, and a process that connects through it."""

    backend: MapBackend
    connect: Callable[[Vip], object]


@contextmanager
def in_memory() -> Iterator[Opened]:
    backend = MemoryMapBackend(CAPACITY)
    yield Opened(backend, backend.connect)


@contextmanager
def in_kernel() -> Iterator[Opened]:
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        kernel = Kernel(cgroup, bpffs)

        def attempt(vip: Vip) -> None:
            # Nobody listens at the servers, but where it went is counted.
            with suppress(OSError):
                kernel.call(partial(connect, str(vip.address), vip.port))

        with kernel.open(max_proxies=CAPACITY) as backend:
            yield Opened(backend, attempt)


@pytest.fixture(
    params=[
        pytest.param(in_memory, id="memory"),
        pytest.param(in_kernel, id="bcc", marks=pytest.mark.kernel),
    ]
)
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    with request.param() as made:
        yield made


@pytest.fixture
def backend(opened: Opened) -> MapBackend:
    return opened.backend


def vip(n: int) -> Vip:
    return Vip(IPv4Address("127.64.0.1") + n, 8502)


def rows(*states: ServerState, addresses: str = "10.0.0.") -> dict[int, SlottedServer]:
    """Servers in the first slots, as the kernel knows them."""
    return {
        slot: SlottedServer(
            slot,
            Server(f"slot {slot}", 8502, IPv4Address(f"{addresses}{slot + 1}")),
            state,
        )
        for slot, state in enumerate(states)
    }


def vips(count: int, preference: Preference = (0, 1, 2)) -> dict[Vip, Preference]:
    return {vip(n): preference for n in range(count)}


def test_the_capacity_is_what_was_asked_for(backend: MapBackend) -> None:
    """It is the number of VIPs that fit."""
    assert backend.capacity == CAPACITY


def test_it_starts_empty(backend: MapBackend) -> None:
    """Nothing is there before the first apply."""
    assert backend.read().table == Table()


def test_what_is_applied_is_read_back(backend: MapBackend) -> None:
    """States, both families, and preferences from none to eight slots."""
    servers = rows(READY, FAILING, ServerState.DRAINING)
    six = Server("slot 7", 65535, None, Server.at("fd00::1", 1).ipv6)
    dual = Server("slot 254", 1, IPv4Address("10.9.9.9"), six.ipv6)
    for server in (six, dual):
        slot = int(server.id.removeprefix("slot "))
        servers[slot] = SlottedServer(slot, server, READY)
    table = Table(
        servers,
        {vip(0): (), vip(1): (254,), vip(2): (7, 6, 5, 4, 3, 2, 1, 0)},
    )
    backend.apply(table)
    assert backend.read().table == table


def test_another_service_of_a_server_is_read_back_by_its_port(
    backend: MapBackend,
) -> None:
    """A row of its own; the kernel has no name for the service."""
    server = Server.at("10.0.0.1", 8502)
    dns = SlottedServer(1, server, FAILING, Service("dns", 8600))
    table = Table({0: SlottedServer(0, server, READY), 1: dns}, vips(1, (0,)))
    assert backend.apply(table) == Applied(servers=2, vips_put=1)
    assert backend.apply(table) == Applied()
    read = backend.read().table.servers
    assert [8502, 8600] == [read[slot].server.port for slot in (0, 1)]
    assert dns.endpoint == read[1].endpoint
    elsewhere = replace(dns, service=Service("dns", 53))
    changed = replace(table, servers={**table.servers, 1: elsewhere})
    assert backend.apply(changed) == Applied(servers=1)


def test_only_what_differs_is_written(backend: MapBackend) -> None:
    """The same table again writes nothing; a change writes that change."""
    servers = rows(READY, READY, READY)
    first = Table(servers, vips(3))
    assert backend.apply(first) == Applied(servers=3, vips_put=3)
    assert backend.apply(first) == Applied()
    changed = Table(servers, {**vips(2), vip(1): (2, 1, 0), vip(9): (1,)})
    assert backend.apply(changed) == Applied(vips_put=2, vips_removed=1)
    assert backend.read().table == changed


def test_bindings_are_read_back_and_written_when_they_change(
    backend: MapBackend,
) -> None:
    """Only of the VIPs that are bound; one that changes is one write."""
    servers = rows(READY)
    first = Table(
        servers, vips(3, (0,)), {vip(0): Binding(5), vip(1): Binding(0, 6, 2)}
    )
    backend.apply(first)
    assert backend.read().table == first
    assert backend.apply(first) == Applied()
    changed = Table(
        servers, vips(3, (0,)), {vip(0): Binding(7), vip(1): Binding(0, 6, 2)}
    )
    assert backend.apply(changed) == Applied(vips_put=1)
    assert backend.read().table == changed


def test_nothing_is_to_be_mended_at_first(backend: MapBackend) -> None:
    """All is where it was put."""
    assert backend.mend() == ()


def test_a_servers_death_is_one_write(backend: MapBackend) -> None:
    """Whatever the number of proxies."""
    many = vips(1000)
    backend.apply(Table(rows(READY, READY, READY), many))
    dead = Table(rows(READY, FAILING, READY), many)
    assert backend.apply(dead) == Applied(servers=1)
    assert backend.read().table == dead


def test_a_slot_can_get_another_server(backend: MapBackend) -> None:
    """Its row is the new server's alone, and its counters begin again."""
    backend.apply(Table(rows(READY), vips(1, (0,))))
    other = Table(rows(READY, addresses="10.1.1."), vips(1, (0,)))
    assert backend.apply(other) == Applied(servers=1)
    assert backend.read().table == other
    assert backend.read().servers[0].connects == 0


def test_a_server_that_is_gone_is_emptied(backend: MapBackend) -> None:
    """Its row is read as not there."""
    backend.apply(Table(rows(READY, READY, READY), vips(2)))
    fewer = Table(rows(READY, READY), vips(2, (0, 1)))
    assert backend.apply(fewer) == Applied(servers=1, vips_put=2)
    assert backend.read().table == fewer


def test_fault_30_more_than_fits_is_refused_whole(backend: MapBackend) -> None:
    """The error says what to raise, and what was there is still there."""
    servers = rows(READY)
    backend.apply(Table(servers, vips(CAPACITY, (0,))))
    with pytest.raises(TableFullError, match=str(CAPACITY)):
        backend.apply(Table({}, vips(CAPACITY + 1, (0,))))
    assert backend.read().table == Table(servers, vips(CAPACITY, (0,)))


def test_a_full_table_takes_others_in_place_of_those_that_go(
    backend: MapBackend,
) -> None:
    """As many as fit can all be replaced in one apply."""
    servers = rows(READY)
    backend.apply(Table(servers, vips(CAPACITY, (0,))))
    others = {vip(5000 + n): (0,) for n in range(CAPACITY)}
    applied = backend.apply(Table(servers, others))
    assert applied == Applied(vips_put=CAPACITY, vips_removed=CAPACITY)
    assert backend.read().table == Table(servers, others)


def test_counters_start_at_nothing(backend: MapBackend) -> None:
    """For each server and each VIP there is."""
    backend.apply(Table(rows(READY, READY), vips(2, (0, 1))))
    state = backend.read()
    assert {slot: c.connects for slot, c in state.servers.items()} == {0: 0, 1: 0}
    assert [state.vips[vip(n)].connects for n in range(2)] == [0, 0]
    assert [state.vips[vip(n)].current for n in range(2)] == [None, None]


def test_when_the_newest_connect_was_is_known(opened: Opened) -> None:
    """To a second: the kernel's jiffies begin a little later than its clock."""
    servers = rows(READY, READY, addresses=LOCAL)
    opened.backend.apply(Table(servers, vips(1, (0, 1))))
    assert opened.backend.read().vips[vip(0)].newest == 0
    before = time.monotonic()
    went(opened)
    newest = opened.backend.read().vips[vip(0)].newest
    assert before - 1 <= newest <= time.monotonic() + 1


LOCAL = "127.0.13."
"""Where nobody listens: a connect is counted, and ends at once."""


def went(opened: Opened, n: int = 0) -> int | None:
    """Connect to a VIP; return the slot of the server it was led to."""
    before = opened.backend.read().vips[vip(n)].connects
    opened.connect(vip(n))
    counters = opened.backend.read().vips[vip(n)]
    return counters.current if counters.connects > before else None


def test_each_further_connect_goes_to_the_next_ready_server(opened: Opened) -> None:
    """From the first choice on, round, past what is not ready; all is counted."""
    servers = rows(READY, FAILING, READY, READY, addresses=LOCAL)
    opened.backend.apply(Table(servers, {vip(0): (2, 1, 0), vip(1): (3,)}))
    assert [went(opened) for _ in range(4)] == [2, 0, 2, 0]
    assert [went(opened, 1) for _ in range(2)] == [3, 3]
    state = opened.backend.read()
    assert state.vips[vip(0)].connects == 4
    assert state.vips[vip(0)].failures == 3
    assert [slot for _, slot in state.vips[vip(0)].sockets].count(2) == 2
    assert [state.servers[slot].connects for slot in range(4)] == [2, 0, 2, 2]
    assert [state.servers[slot].failures for slot in range(4)] == [1, 0, 2, 1]


def test_with_no_server_ready_a_connect_is_refused(opened: Opened) -> None:
    """It counts for nothing; the first one afterwards begins where the last ended."""
    preferred = {vip(0): (0, 1)}
    opened.backend.apply(Table(rows(FAILING, FAILING, addresses=LOCAL), preferred))
    assert [went(opened) for _ in range(2)] == [None, None]
    opened.backend.apply(Table(rows(READY, READY, addresses=LOCAL), preferred))
    assert went(opened) == 0
    assert opened.backend.read().vips[vip(0)].failures == 0


def test_a_vip_that_is_to_stay_is_led_where_it_was(opened: Opened) -> None:
    """Once; such a connect is no server's failure."""
    servers = rows(READY, READY, addresses=LOCAL)
    opened.backend.apply(Table(servers, vips(1, (0, 1))))
    assert went(opened) == 0
    opened.backend.stay([vip(0)])
    assert went(opened) == 0
    assert opened.backend.read().servers[0].failures == 0
    assert went(opened) == 1


def test_a_new_preference_keeps_the_server_in_use(opened: Opened) -> None:
    """Unless the first choice is another: then that is next. Counters stay."""
    servers = rows(READY, READY, READY, addresses=LOCAL)
    opened.backend.apply(Table(servers, vips(1, (0, 1, 2))))
    assert [went(opened) for _ in range(2)] == [0, 1]
    opened.backend.apply(Table(servers, vips(1, (0, 2, 1))))
    assert went(opened) == 0  # behind 1 comes the first again
    opened.backend.apply(Table(servers, vips(1, (2, 1, 0))))
    assert went(opened) == 2
    assert opened.backend.read().vips[vip(0)].connects == 4
