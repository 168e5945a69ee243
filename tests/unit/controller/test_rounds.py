"""What is carried out when, and in which order."""

import asyncio
import threading
from collections.abc import Collection
from pathlib import Path

import pytest

from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.seams import Applied
from consul_ebpf.model.values import (
    Proxy,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.testing import (
    MemoryMapBackend,
)
from tests.lab.serving import (
    API,
    FAILING,
    JOB,
    READY,
    SERVERS,
    WEB,
    Host,
    vip,
)

pytestmark = pytest.mark.looptime(start=0)


class Looking(MemoryMapBackend):
    """Notes which bootstraps there are when it is written to."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self.seen: list[set[str]] = []

    def apply(self, table: Table, among: Collection[Vip] | None = None) -> Applied:
        paths = self._directory.glob("*/bootstrap.json")
        self.seen.append({path.parent.name for path in paths})
        return super().apply(table, among)


class Refusing(MemoryMapBackend):
    """Refuses the first writes."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def apply(self, table: Table, among: Collection[Vip] | None = None) -> Applied:
        if self.times:
            self.times -= 1
            raise KernelError("writing the tables failed: no memory; trying again")
        return super().apply(table, among)


class Slow(MemoryMapBackend):
    """Its writes take until `go`; `begun` is set when one begins."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go = threading.Event()
        self._loop = asyncio.get_running_loop()

    def apply(self, table: Table, among: Collection[Vip] | None = None) -> Applied:
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(60)
        return super().apply(table, among)


async def test_the_tables_come_before_the_bootstraps(tmp_path: Path) -> None:
    """No Envoy starts on a VIP that leads nowhere."""
    backend = Looking(tmp_path)
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        await host.until_served(WEB)
        host.workloads.set([WEB, API])
        await host.until_served(WEB, API)
    assert [set(), {"web"}] == backend.seen
    assert {vip(1), vip(2)} == set(host.table.vips)


async def test_the_bootstrap_holds_the_programmed_vip(tmp_path: Path) -> None:
    """Whatever it is."""
    async with Host(tmp_path, WEB).serving() as host:
        await host.until_served(WEB)
    text = (tmp_path / "web" / "bootstrap.json").read_text()
    (programmed,) = host.table.vips
    assert f'"address": "{programmed.address}"' in text


async def test_it_tells_of_each_round(tmp_path: Path) -> None:
    """Ready servers, programmed proxies, refused ones."""
    host = Host(tmp_path, WEB, Proxy("../x", "host1", owner="test"))
    async with host.serving():
        await host.until_served(WEB)
    assert str(Converged(servers=3, proxies=1, refused=1)) == str(host.told[-1])


async def test_nothing_is_done_before_all_is_known(tmp_path: Path) -> None:
    """With no servers known and none in the kernel there is no bootstrap."""
    async with Host(tmp_path, WEB, servers=None).serving() as host:
        await asyncio.sleep(60)
        assert set() == host.bootstraps()
        assert [] == host.backend.applied
        host.source.set(SERVERS)
        await host.until_served(WEB)


async def test_fault_31_a_kernel_that_refuses_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With back-off, and with the newest inputs by then."""
    backend = Refusing(times=4)
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        while backend.times > 2:
            await asyncio.sleep(0.1)
        assert set() == host.bootstraps()
        host.workloads.set([API])
        await host.until_served(API)
    assert 1 == len(host.table.vips)
    told = [r.getMessage() for r in caplog.records if "failed" in r.getMessage()]
    assert 4 == len(told)
    assert told[0].startswith("writing the tables failed: no memory")


async def test_a_death_is_one_write(tmp_path: Path) -> None:
    """Of its row; no VIP changes, no bootstrap is written."""
    async with Host(tmp_path, WEB, API, JOB).serving() as host:
        await host.until_served(WEB, API, JOB)
        host.backend.applied.clear()
        host.probe.kill(SERVERS[0].id)
        await host.until(lambda: 2 == host.told[-1].servers)
    assert [Applied(servers=1)] == host.writes


async def test_fault_59_if_every_probe_fails_nothing_changes(tmp_path: Path) -> None:
    """It is us, or there is nowhere better to go."""
    async with Host(tmp_path, WEB).serving() as host:
        await host.until_served(WEB)
        before = host.table
        host.probe.kill(*(server.id for server in SERVERS))
        host.source.set([])
        await asyncio.sleep(120)
    assert before == host.table
    assert 1 == len(host.writes)


async def test_with_consul_away_new_proxies_are_served_from_the_kernels_list(
    tmp_path: Path,
) -> None:
    """A restart; proxies that were there keep what they have."""
    rows = {
        slot: SlottedServer(slot, SERVERS[slot - 4], state)
        for slot, state in ((4, READY), (5, FAILING))
    }
    VipMemory(tmp_path).save({("web", "default", "default"): vip(7)})
    backend = MemoryMapBackend(table=Table(rows, {vip(7): (5, 4)}))
    host = Host(tmp_path, WEB, API, backend=backend, servers=None)
    async with host.serving():
        await host.until_served(WEB, API)
        known = {slot: row.state for slot, row in host.table.servers.items()}
        assert {4: READY, 5: FAILING} == known
        assert (5, 4) == host.table.vips.pop(vip(7))  # type: ignore[attr-defined]
        assert [Applied(vips_put=1)] == host.writes
        host.source.set(SERVERS)  # Consul is back
        await host.until(lambda: 3 == host.told[-1].servers)
    slots = {row.server.endpoint: slot for slot, row in host.table.servers.items()}
    assert {"10.0.0.1:8502": 4, "10.0.0.2:8502": 5, "10.0.0.3:8502": 6} == slots


async def test_fault_84_a_round_is_noted_and_who_waits_for_it_is_not(
    tmp_path: Path,
) -> None:
    """Else it would be the one that waits that seems to be stuck."""
    backend = Slow()
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        await backend.begun.wait()
        waiting = asyncio.create_task(host.runner.tables.stay([]))
        for _ in range(10):
            await asyncio.sleep(0)
        stuck = host.progress.stuck(-1)
        assert ("a round" in stuck, "writing cursors" in stuck) == (True, False)
        backend.go.set()
        await waiting
        await host.until_served(WEB)


async def test_cancelled_in_the_middle_of_a_write_it_finishes_that_round(
    tmp_path: Path,
) -> None:
    """Table and files agree, and no task is left; closing is the caller's."""
    backend = Slow()
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        await backend.begun.wait()
        for _ in range(2):  # signals
            host.task.cancel()
            for _ in range(100):  # not in virtual time: it waits for the thread
                await asyncio.sleep(0)
            assert not host.task.done()
        backend.go.set()
        await asyncio.wait([host.task])
        assert host.task.cancelled()
    assert {vip(1)} == set(host.table.vips)
    assert {"web"} == host.bootstraps()
    assert host.probe.closed
    assert not host.backend.closed
