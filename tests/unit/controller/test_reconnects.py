"""Who connected anew, and who went elsewhere, from one look to the next."""

import asyncio
from ipaddress import IPv4Address

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.base.timing import counts
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.kernel_table import KernelTable
from consul_ebpf.controller.outcomes import Converged, Served
from consul_ebpf.controller.reconnects import Moves, Reconnects
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.values import (
    PlacedProxy,
    Proxy,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.testing import MemoryMapBackend

VIP, OTHER = (Vip(IPv4Address(f"127.64.0.{n}"), 8502) for n in (1, 2))
ROWS = {
    slot: SlottedServer(slot, Server.at(f"10.9.9.{slot}", 8502), ServerState.READY)
    for slot in (0, 1)
}


def test_the_first_look_only_remembers() -> None:
    """What was before it is nobody's news."""
    backend = MemoryMapBackend(table=Table(ROWS, {VIP: (0, 1)}))
    backend.connect(VIP, 1)
    moves = Moves()
    assert moves.see(backend.read()) == {}
    assert moves.see(backend.read()) == {}


def test_a_new_connect_is_seen_once_with_the_server_it_left() -> None:
    """One to the same server leaves none; the first one of all is no news."""
    backend = MemoryMapBackend(table=Table(ROWS, {VIP: (0, 1), OTHER: (1,)}))
    backend.connect(VIP, 1)
    moves = Moves()
    moves.see(backend.read())
    backend.stay([VIP])
    backend.connect(VIP, 2)
    assert moves.see(backend.read()) == {VIP: ""}
    backend.connect(VIP, 3)
    backend.connect(OTHER, 4)
    assert moves.see(backend.read()) == {VIP: "10.9.9.0:8502"}
    backend.connect(OTHER, 5)
    assert moves.see(backend.read()) == {OTHER: ""}
    assert moves.see(backend.read()) == {}


def test_a_vip_that_is_given_again_begins_anew() -> None:
    """Its counters are another's."""
    backend = MemoryMapBackend(table=Table(ROWS, {VIP: (0, 1)}))
    moves = Moves()
    backend.connect(VIP, 1)
    moves.see(backend.read())
    backend.apply(Table(ROWS, {}))
    moves.see(backend.read())
    backend.apply(Table(ROWS, {VIP: (1, 0)}))
    backend.connect(VIP, 2)
    assert moves.see(backend.read()) == {}


@pytest.mark.looptime(start=0)
async def test_each_reconnect_is_counted_by_the_proxys_key() -> None:
    """Of proxies that are served; of one that is gone nothing is kept."""
    backend = MemoryMapBackend(table=Table(ROWS, {VIP: (0, 1), OTHER: (1,)}))
    cells = Cells()
    tables = Tables(KernelTable(backend, ""), Progress(), Latest())
    part = Reconnects(tables, cells.outcome, cells.reconnected, cells.looked)
    task = asyncio.create_task(part.run())
    served = {
        key: Served(PlacedProxy(Proxy(f"id-of-{key}", "h", key=key), vip))
        for key, vip in (("one", VIP), ("other", OTHER))
    }
    cells.outcome.set(Converged(2, 2, 0, outcomes=served))
    await asyncio.sleep(5)
    assert not cells.reconnected.value
    for cookie in (1, 2, 3):
        backend.connect(VIP, cookie)
        await asyncio.sleep(3)
    backend.connect(OTHER, 4)
    await asyncio.sleep(3)
    assert cells.reconnected.value == {"one": 2}
    assert counts("moved")["id-of-one"] == 2
    assert "id-of-other" not in counts("moved")  # its first connect
    assert counts("moved_from")["10.9.9.0:8502"] == 1
    cells.outcome.set(Converged(2, 1, 0, outcomes={"other": served["other"]}))
    backend.connect(OTHER, 5)
    await asyncio.sleep(6)
    assert cells.reconnected.value == {"other": 1}
    task.cancel()
