"""When connections are cut, in virtual time."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest

from consul_ebpf import (
    KernelError,
    KernelState,
    PooledServer,
    PrivilegeError,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.base.progress import Progress
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.cutting import AGAIN_SECONDS, Cutter
from consul_ebpf.controller.kernel_table import KernelTable
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.seams import Doomed
from consul_ebpf.model.values import VipCounters
from consul_ebpf.testing import FakeNamespaces, MemoryMapBackend

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

ONE, TWO = Server.at("10.0.0.1", 8502), Server.at("10.0.0.2", 8502)
READY, FAILING = ServerState.READY, ServerState.FAILING
UP = (PooledServer(ONE, READY), PooledServer(TWO, READY))
DEAD = (PooledServer(ONE, FAILING, dead=True), PooledServer(TWO, READY))
VIP = Vip(IPv4Address("127.64.0.1"), 8502)


class Backend(MemoryMapBackend):
    """Sockets 1 and 2 went by a VIP to ONE, 3 to TWO."""

    def __init__(self) -> None:
        super().__init__()
        self.ring: tuple[tuple[int, int], ...] = ((1, 0), (2, 0), (3, 1))
        self.reads = 0
        self.unreadable = False

    def read(self) -> KernelState:
        self.reads += 1
        if self.unreadable:
            raise KernelError("reading the tables failed")
        rows = {n: SlottedServer(n, s, READY) for n, s in enumerate((ONE, TWO))}
        table = Table(rows, {VIP: (0, 1)})
        return KernelState(table, {}, {VIP: VipCounters(3, 0, self.ring)})


class Host:
    """Sockets 1 and 2 went by a VIP to ONE, 3 to TWO; 4 to ONE by no VIP."""

    def __init__(self) -> None:
        sockets = {1: ONE, 2: ONE, 3: TWO, 4: ONE}
        self.namespaces = FakeNamespaces(sockets=sockets)
        self.backend = Backend()
        self.cells = Cells()
        kernel = KernelTable(self.backend, "")
        self.tables = Tables(kernel, Progress(), self.cells.rows)

    def program(self, servers: tuple[PooledServer, ...]) -> None:
        """Have the kernel know the servers' states."""
        self.cells.rows.set(
            {n: SlottedServer(n, s.server, s.state) for n, s in enumerate(servers)}
        )
        self.cells.servers.set(servers)

    @property
    def open(self) -> set[int]:
        return set(self.namespaces.sockets)

    @asynccontextmanager
    async def cutting(self) -> AsyncIterator[None]:
        cells = self.cells
        cutter = Cutter(self.tables, cells.servers, cells.rows, self.namespaces)
        task = asyncio.create_task(cutter.run())
        try:
            await asyncio.sleep(0.1)
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_dead_servers_connections_are_cut_and_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At once, and said in one line that counts them."""
    host = Host()
    host.program(UP)
    async with host.cutting():
        assert host.open == {1, 2, 3, 4}
        host.program(DEAD)
        await asyncio.sleep(0.1)
        assert host.open == {3, 4}
    (line,) = caplog.records
    assert line.__dict__["event"] == "cut"
    assert line.__dict__["count"] == 2
    assert "10.0.0.1:8502" in line.getMessage()


async def test_all_are_cut_however_many() -> None:
    """In parts, so that an end of the controller need not wait for them all."""
    host = Host()
    host.namespaces.sockets = dict.fromkeys(range(1, 452), ONE)
    host.backend.ring = tuple((cookie, 0) for cookie in range(1, 451))
    async with host.cutting():
        host.program(UP)
        await asyncio.sleep(1)
        host.program(DEAD)
        await asyncio.sleep(1)
    assert {451} == host.open


async def test_one_that_was_being_made_is_cut_by_the_second_look() -> None:
    """There is no third: a server may be dead for days."""
    host = Host()
    async with host.cutting():
        host.program(DEAD)
        await asyncio.sleep(1)
        host.namespaces.sockets[9] = ONE
        host.backend.ring = ((9, 0),)
        await asyncio.sleep(AGAIN_SECONDS)
        assert host.open == {3, 4}
        reads = host.backend.reads
        await asyncio.sleep(100 * AGAIN_SECONDS)
        assert reads == host.backend.reads == 2


async def test_a_server_that_is_back_is_let_be() -> None:
    """Before the second look came; dead again it is looked at again."""
    host = Host()
    async with host.cutting():
        host.program(DEAD)
        await asyncio.sleep(1)
        host.program(UP)
        host.namespaces.sockets[9] = ONE
        host.backend.ring = ((9, 0),)
        await asyncio.sleep(10 * AGAIN_SECONDS)
        assert 9 in host.open
        host.program(DEAD)
        await asyncio.sleep(1)
        assert 9 not in host.open


async def test_fault_59_nothing_is_cut_while_no_server_is_ready() -> None:
    """Whatever is said to be dead: there is nowhere to go, or it is us."""
    host = Host()
    async with host.cutting():
        nobody = tuple(PooledServer(s, FAILING, dead=True) for s in (ONE, TWO))
        host.program(nobody)
        await asyncio.sleep(10 * AGAIN_SECONDS)
        assert host.open == {1, 2, 3, 4}
        failing = (PooledServer(ONE, FAILING), PooledServer(TWO, READY))
        host.program(failing)  # failing by one probe is not dead
        await asyncio.sleep(10 * AGAIN_SECONDS)
        assert host.open == {1, 2, 3, 4}
        assert host.backend.reads == 0


async def test_fault_61_what_the_kernel_cannot_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With what does it instead; it is not tried again."""
    host = Host()
    host.namespaces.failure = PrivilegeError("that needs CAP_NET_ADMIN")
    async with host.cutting():
        for servers in (DEAD, UP, DEAD, UP, DEAD):
            host.program(servers)
            await asyncio.sleep(10 * AGAIN_SECONDS)
        assert host.open == {1, 2, 3, 4}
    (line,) = caplog.records
    assert "CAP_NET_ADMIN; Envoy's keepalive" in line.getMessage()
    assert line.__dict__["event"] == "cut_failed"


async def test_tables_that_cannot_be_read_are_tried_again() -> None:
    """Nothing ends by it."""
    host = Host()
    host.backend.unreadable = True
    async with host.cutting():
        host.program(DEAD)
        await asyncio.sleep(2 * AGAIN_SECONDS)
        assert host.open == {1, 2, 3, 4}
        host.backend.unreadable = False
        await asyncio.sleep(AGAIN_SECONDS)
        assert host.open == {3, 4}


async def test_what_failed_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """Said once, until it works."""
    host = Host()
    host.namespaces.failure = KernelError("not now")
    async with host.cutting():
        host.program(DEAD)
        await asyncio.sleep(5 * AGAIN_SECONDS)
        assert host.open == {1, 2, 3, 4}
        host.namespaces.failure = None
        await asyncio.sleep(AGAIN_SECONDS)
        assert host.open == {3, 4}
    failed = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert [r.__dict__["event"] for r in failed] == ["cut_failed", "cut"]


async def test_what_the_kernel_does_not_know_yet_is_not_cut() -> None:
    """Its next connect could go there again."""
    host = Host()
    host.program(UP)
    async with host.cutting():
        host.cells.servers.set(DEAD)
        await asyncio.sleep(10 * AGAIN_SECONDS)
        assert host.open == {1, 2, 3, 4}
        host.program(DEAD)
        await asyncio.sleep(0.1)
        assert host.open == {3, 4}


class SlowCuts(FakeNamespaces):
    """Cuts take until `go`; `begun` is set when one begins."""

    def __init__(self) -> None:
        super().__init__(sockets=dict.fromkeys(range(6_000), ONE))
        self.begun = threading.Event()
        self.go = threading.Event()
        self.parts: list[int] = []

    def destroy(self, doomed: Sequence[Doomed]) -> int:
        self.parts.append(len(doomed))
        self.begun.set()
        assert self.go.wait(60)
        return super().destroy(doomed)


async def test_fault_84_a_cut_of_thousands_is_no_work_that_others_wait_for() -> None:
    """The upkeep goes on beside it, and new pods have their turn each second."""
    host, namespaces = Host(), SlowCuts()
    host.namespaces = namespaces
    host.backend.ring = tuple((cookie, 0) for cookie in range(6_000))
    host.program(UP)
    async with host.cutting():
        host.program(DEAD)
        await asyncio.to_thread(namespaces.begun.wait, 60)
        host.backend.broken = ("a link was missing",)
        assert await host.tables.mend() == ("a link was missing",)
        namespaces.go.set()
        while host.open:
            await asyncio.sleep(0.1)
        assert [200] * 30 == namespaces.parts
