"""The part that writes down what happens."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.outcomes import Converged, Served
from consul_ebpf.model.values import KernelState, PlacedProxy, Proxy, SlottedServer
from consul_ebpf.views.history import History
from consul_ebpf.views.timeline import Timeline, TimelineFile
from consul_ebpf.views.wording import words_of
from tests.lab.looks import FAILING, READY, server, tables, vip

pytestmark = pytest.mark.looptime

BOTH = {0: READY, 1: READY}


class World:
    """The cells of a controller, filled by hand."""

    def __init__(self, directory: Path) -> None:
        self.rows: Latest[Mapping[int, SlottedServer]] = Latest()
        self.looked: Latest[KernelState] = Latest()
        self.outcome: Latest[Converged] = Latest()
        self.events: dict[str, int] = {}
        self.file = TimelineFile(directory)

    def show(self, held: KernelState) -> None:
        if self.outcome.value is None:
            self.outcome.set(Converged(0, 0, 0, outcomes={}))
        self.rows.set(held.table.servers)
        self.looked.set(held)

    @property
    def written(self) -> Timeline:
        return self.file.read() or Timeline()

    @property
    def told(self) -> list[str]:
        return [words_of(each) for each in self.written.happenings]


@asynccontextmanager
async def following(directory: Path) -> AsyncIterator[World]:
    world = World(directory)
    part = History(
        TimelineFile(directory),
        rows=world.rows,
        looked=world.looked,
        outcome=world.outcome,
        events=lambda: world.events,
        clock=lambda: asyncio.get_running_loop().time() + 1000.0,
    )
    task = asyncio.create_task(part.run())
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_death_and_what_follows_is_written_down(tmp_path: Path) -> None:
    """The death at once, from the row; the moves when somebody looked."""
    async with following(tmp_path) as world:
        placed = PlacedProxy(Proxy("web", "n"), vip(0))
        world.outcome.set(Converged(2, 1, 0, outcomes={"web": Served(placed)}))
        world.show(tables(BOTH, {0: (1, 0)}))
        await asyncio.sleep(1)
        assert world.told[0] == "the controller started"
        dead = tables({0: FAILING, 1: READY}, {0: (2, 1)})
        world.rows.set(dead.table.servers)
        await asyncio.sleep(1)
        assert f"server {server(0)} is failing" == world.told[-1]
        world.looked.set(dead)
        await asyncio.sleep(1)
        assert f"proxy web moved from {server(0)} to {server(1)}" == world.told[-1]
        assert world.written.stays["web"].moves == 1


async def test_it_goes_on_with_what_was_before_a_restart(tmp_path: Path) -> None:
    """Servers that did not change are not told again, and keep their times."""
    async with following(tmp_path) as world:
        world.show(tables(BOTH, {}))
        await asyncio.sleep(1)
    before = world.written
    await asyncio.sleep(60)
    async with following(tmp_path) as world:
        world.show(tables(BOTH, {}))
        await asyncio.sleep(1)
        assert world.told[-1] == "the controller started"
        assert world.written.states == before.states


async def test_moves_while_no_controller_ran_are_told_by_the_next(
    tmp_path: Path,
) -> None:
    """The file knows where the proxies were."""
    async with following(tmp_path) as world:
        world.show(tables(BOTH, {}))
        await asyncio.sleep(1)
        world.show(tables(BOTH, {0: (1, 0)}))
        await asyncio.sleep(1)
    async with following(tmp_path) as world:
        world.show(tables(BOTH, {0: (2, 1)}))
        await asyncio.sleep(1)
        assert f"moved from {server(0)} to {server(1)}" in world.told[-1]
        assert 1 == world.written.stays["127.64.0.1"].moves


async def test_events_are_seen_without_any_other_change(tmp_path: Path) -> None:
    """From the start on, within seconds."""
    async with following(tmp_path) as world:
        world.events["resumed"] = 1
        world.show(tables(BOTH, {}))
        await asyncio.sleep(3)
        world.events["cut"] = 2
        await asyncio.sleep(3)
        assert "began with the last known servers" in world.told
        assert world.told[-1] == "a connection to a dead server was cut (2 times)"


async def test_nothing_is_written_before_a_table_was_read(tmp_path: Path) -> None:
    """There is nothing to tell yet."""
    async with following(tmp_path) as world:
        await asyncio.sleep(10)
        assert world.file.read() is None
