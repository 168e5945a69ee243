"""Server states reach the kernel first and alone; all else waits for a round."""

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.controller.cutting import in_kernel
from consul_ebpf.controller.kernel_table import ROWS_AT_ONCE, KernelTable, Planned
from consul_ebpf.controller.runner import Runner
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.seams import Applied
from consul_ebpf.model.values import (
    Binding,
    BootstrapParams,
    PlacedProxy,
    PooledServer,
    Proxy,
    Server,
    ServerState,
    Vip,
)
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.servers.pool import PoolSettings, ServerPool
from consul_ebpf.testing import (
    FakeProbe,
    FakeServerSource,
    FakeWorkloads,
    MemoryMapBackend,
)

READY, FAILING, DRAINING = (
    ServerState.READY,
    ServerState.FAILING,
    ServerState.DRAINING,
)
SERVERS = [Server.at(f"10.0.0.{n}", 8502) for n in range(1, 13)]
BOUND = {Vip(IPv4Address("127.64.0.0") + n, 8502): Binding() for n in range(1, 40)}


def pool(*states: ServerState) -> tuple[PooledServer, ...]:
    pairs = zip(SERVERS, states, strict=False)
    return tuple(PooledServer(server, state) for server, state in pairs)


def programmed(
    backend: MemoryMapBackend,
    *states: ServerState,
    bound: Mapping[Vip, Binding] = BOUND,
) -> KernelTable:
    kernel = KernelTable(backend, "host")
    write(kernel, kernel.prepare(pool(*states), bound))
    return kernel


def write(kernel: KernelTable, planned: Planned) -> Applied:
    return sum(kernel.program(planned), Applied())


def states(backend: MemoryMapBackend) -> list[ServerState]:
    return [each.state for each in backend.read().table.servers.values()]


def test_a_state_is_one_write_and_changes_nothing_else() -> None:
    """Whatever the number of proxies; back again likewise."""
    backend = MemoryMapBackend()
    kernel = programmed(backend, READY, READY, READY)
    before = backend.read().table
    for state in (FAILING, READY):
        assert kernel.follow_states(pool(READY, state, READY)) == Applied(servers=1)
        assert states(backend) == [READY, state, READY]
        seen = pool(READY, state, READY)
        assert in_kernel(seen, kernel.table.servers) == seen
    assert backend.read().table == before
    assert not kernel.follow_states(pool(READY, READY, READY))
    assert len(backend.applied) == 3  # nothing new: the backend is not even called


def test_who_comes_or_leaves_waits_for_the_round() -> None:
    """A row has its address before its state, a preference goes before its row."""
    backend = MemoryMapBackend()
    kernel = programmed(backend, READY, READY, READY)
    assert not kernel.follow_states(pool(READY, READY, READY, READY))
    assert not kernel.follow_states(pool(READY, READY))
    seen = pool(READY, FAILING, READY, READY)
    assert kernel.follow_states(seen) == Applied(servers=1)
    assert states(backend) == [READY, FAILING, READY]
    assert in_kernel(seen, kernel.table.servers) == seen[:3]


def test_a_drain_is_one_write_and_the_preferences_follow() -> None:
    """No new connect goes there from the first write on; back at once, none follow."""
    backend = MemoryMapBackend()
    kernel = programmed(backend, READY, READY, READY)
    assert kernel.follow_states(pool(READY, READY, DRAINING)) == Applied(servers=1)
    assert kernel.follow_states(pool(READY, READY, READY)) == Applied(servers=1)
    again = kernel.prepare(pool(READY, READY, READY), BOUND)
    assert write(kernel, again) == Applied()
    kernel.follow_states(pool(READY, READY, DRAINING))
    second = {vip: next(n for n in kernel.table.vips[vip] if n != 2) for vip in BOUND}
    rest = write(kernel, kernel.prepare(pool(READY, READY, DRAINING), BOUND))
    assert rest == Applied(vips_put=len(BOUND))
    assert {vip: order[0] for vip, order in kernel.table.vips.items()} == second


def test_fault_132_a_death_waits_for_some_rows_of_a_round_at_most() -> None:
    """Whatever is still to be written for all proxies, its row comes in between."""
    backend = MemoryMapBackend()
    many = {
        Vip(IPv4Address("127.64.0.0") + n, 8502): Binding()
        for n in range(1, 3 * ROWS_AT_ONCE)
    }
    kernel = programmed(backend, READY, READY, READY, bound=many)
    steps = kernel.program(kernel.prepare(pool(DRAINING, READY, READY, READY), many))
    first = next(steps)
    assert (first.servers, first.vips_put) == (1, ROWS_AT_ONCE)
    assert kernel.follow_states(pool(READY, FAILING, READY)) == Applied(servers=1)
    assert states(backend) == [READY, FAILING, READY, READY]
    for each in steps:
        assert each.vips_put <= ROWS_AT_ONCE
        assert states(backend)[1:] == [FAILING, READY, READY]
    assert states(backend)[0] is DRAINING
    assert all(0 not in order for order in backend.read().table.vips.values())


def test_a_plan_that_was_not_written_to_its_end_is_made_again() -> None:
    """Even where the servers are again those of the plan before."""
    backend = MemoryMapBackend()
    many = {
        Vip(IPv4Address("127.64.0.0") + n, 8502): Binding()
        for n in range(1, 2 * ROWS_AT_ONCE)
    }
    kernel = programmed(backend, READY, READY, READY, bound=many)
    steps = kernel.program(kernel.prepare(pool(DRAINING, READY, READY), many))
    next(steps)
    backend.failure = KernelError("no memory")
    with pytest.raises(KernelError):
        next(steps)
    write(kernel, kernel.prepare(pool(READY, READY, READY), many))
    firsts = Counter(order[0] for order in backend.read().table.vips.values())
    assert max(firsts.values()) - min(firsts.values()) <= 1
    assert len(firsts) == 3


def test_no_vip_loses_its_last_ready_server_before_it_has_another() -> None:
    """With more servers than a preference holds, the round gives it one first."""
    backend = MemoryMapBackend()
    vip, binding = next(iter(BOUND.items()))
    kernel = programmed(backend, *[READY] * 12, bound={vip: binding})
    preference = kernel.table.vips[vip]
    for left in range(len(preference), 0, -1):
        dying = set(preference[: len(preference) - left + 1])
        now = pool(*(FAILING if n in dying else READY for n in range(12)))
        wrote = kernel.follow_states(now)
        assert bool(wrote) is (left > 1)
    write(kernel, kernel.prepare(now, {vip: binding}))
    ready = {n for n, row in kernel.table.servers.items() if row.state is READY}
    assert not ready.isdisjoint(kernel.table.vips[vip])


def test_where_none_is_ready_nothing_changes() -> None:
    """Those that were ready keep that state: it is us, or there is nowhere to go."""
    backend = MemoryMapBackend()
    kernel = programmed(backend, READY, READY)
    assert not kernel.follow_states(pool(FAILING, FAILING))
    assert not kernel.follow_states(pool(FAILING, FAILING, READY))
    assert states(backend) == [READY, READY]


def test_a_state_written_while_a_round_plans_stays() -> None:
    """What the round knew of it is older."""
    backend = MemoryMapBackend()
    kernel = programmed(backend, READY, READY, READY)
    more = {**BOUND, Vip(IPv4Address("127.64.9.9"), 8502): Binding()}
    planned = kernel.prepare(pool(READY, READY, READY, READY), more)
    kernel.follow_states(pool(READY, FAILING, READY, READY))
    write(kernel, planned)
    assert states(backend) == [READY, FAILING, READY, READY]
    assert len(backend.read().table.vips) == len(more)


def test_a_refused_state_is_written_by_the_round() -> None:
    """The table is known to be as it was."""
    backend = MemoryMapBackend()
    kernel = programmed(backend, READY, READY)
    backend.failure = KernelError("no memory")
    now = pool(READY, FAILING)
    with pytest.raises(KernelError):
        kernel.follow_states(now)
    assert write(kernel, kernel.prepare(now, BOUND)) == Applied(servers=1)
    assert states(backend) == [READY, FAILING]


def test_a_plan_is_made_again_only_for_who_comes_or_goes() -> None:
    """Not for a state, nor for another binding."""
    kernel = programmed(MemoryMapBackend(), READY, READY, READY)
    vips = kernel.table.vips
    write(kernel, kernel.prepare(pool(READY, FAILING, READY), dict(BOUND)))
    assert kernel.table.vips is vips
    elsewhere = dict.fromkeys(BOUND, Binding(netns=5))
    assert write(
        kernel, kernel.prepare(pool(READY, FAILING, READY), elsewhere)
    ) == Applied(vips_put=len(BOUND))
    assert kernel.table.vips is vips
    write(kernel, kernel.prepare(pool(READY, READY, DRAINING), elsewhere))
    assert kernel.table.vips is not vips


class Stopping:
    """A renderer that stands still until `go`."""

    def __init__(self) -> None:
        self._ours = EnvoyBootstrap()
        self.begun = threading.Event()
        self.go = threading.Event()

    def render(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> Mapping[str, Any]:
        self.begun.set()
        assert self.go.wait(60)
        return self._ours.render(placed, params)


@pytest.mark.looptime(start=0)
async def test_fault_132_a_death_does_not_wait_for_a_round_that_writes_files(
    tmp_path: Path,
) -> None:
    """Its row is written while the round stands still."""
    renderer, probe, backend = Stopping(), FakeProbe(), MemoryMapBackend()
    runner = Runner(
        pool=ServerPool(
            FakeServerSource(SERVERS[:3]), probe, settings=PoolSettings(interval=0.1)
        ),
        workloads=FakeWorkloads([Proxy("web", "host1")]),
        backend=backend,
        renderer=renderer,
        files=BootstrapFiles(tmp_path),
        memory=VipMemory(tmp_path),
    )
    task = asyncio.create_task(runner.run())
    try:
        while not renderer.begun.is_set():
            await asyncio.sleep(0.01)
        backend.applied.clear()
        probe.kill(SERVERS[0].id)
        while not backend.applied:
            await asyncio.sleep(0.1)
        assert backend.applied == [Applied(servers=1)]
        assert states(backend) == [FAILING, READY, READY]
        assert not (tmp_path / "web" / "bootstrap.json").exists()
    finally:
        renderer.go.set()
        task.cancel()
        await asyncio.wait([task])
