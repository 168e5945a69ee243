"""Server states go to the kernel before anything else. Time is virtual."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from consul_ebpf.base.progress import Progress
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.kernel_table import KernelTable
from consul_ebpf.controller.states import ServerStates
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.seams import Applied
from consul_ebpf.model.values import Binding, PooledServer, Vip
from consul_ebpf.testing import MemoryMapBackend
from tests.lab.serving import FAILING, READY, SERVERS

pytestmark = pytest.mark.looptime(start=0)

UP = tuple(PooledServer(server, READY) for server in SERVERS)
DOWN = (replace(UP[0], state=FAILING), *UP[1:])


@asynccontextmanager
async def writing(backend: MemoryMapBackend) -> AsyncIterator[Cells]:
    """Three servers and a VIP are programmed."""
    cells = Cells()
    kernel = KernelTable(backend, "")
    tables = Tables(kernel, Progress(), cells.rows)
    vip = Vip(IPv4Address("127.64.0.1"), 8502)
    await tables.program(kernel.prepare(UP, {vip: Binding()}))
    backend.applied.clear()
    states = ServerStates(tables, cells.pooled, cells.servers)
    task = asyncio.create_task(states.run())
    try:
        yield cells
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_rounds_hear_of_a_state_when_it_is_written() -> None:
    """One row; what the kernel then has is told, too."""
    backend = MemoryMapBackend()
    async with writing(backend) as cells:
        cells.pooled.set(DOWN)
        async for servers in cells.servers.changes():
            assert servers == DOWN
            break
        assert backend.applied == [Applied(servers=1)]
        assert cells.rows.value is not None
        assert [FAILING, READY, READY] == [r.state for r in cells.rows.value.values()]


async def test_a_kernel_that_refuses_keeps_no_round_waiting() -> None:
    """It is the round that says so, and tries again."""
    backend = MemoryMapBackend()
    async with writing(backend) as cells:
        backend.failure = KernelError("no memory")
        cells.pooled.set(DOWN)
        await asyncio.sleep(1)
        assert cells.servers.value == DOWN
        assert backend.applied == []
        assert cells.rows.value is not None
        assert {READY} == {each.state for each in cells.rows.value.values()}
