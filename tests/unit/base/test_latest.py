"""The one-slot cell between two tasks."""

import asyncio

import pytest

from consul_ebpf.base.latest import Changes, Latest


async def test_a_reader_begins_with_the_value_there_is() -> None:
    """However often it changed before."""
    cell: Latest[int] = Latest()
    for n in (1, 2, 3):
        cell.set(n)
    assert await anext(aiter(cell.changes())) == 3
    assert cell.value == 3


async def test_a_slow_reader_misses_what_was_in_between() -> None:
    """It sees the newest, never a backlog."""
    cell: Latest[int] = Latest()
    cell.set(1)
    changes = aiter(cell.changes())
    assert await anext(changes) == 1
    for n in (2, 3, 4):
        cell.set(n)
    assert await anext(changes) == 4


async def test_an_equal_value_wakes_nobody() -> None:
    """Nor does it count as a change."""
    cell: Latest[tuple[int, ...]] = Latest()
    cell.set((1,))
    changes = aiter(cell.changes())
    await anext(changes)
    waiting = asyncio.ensure_future(anext(changes))
    cell.set((1,))
    await asyncio.sleep(0)
    assert not waiting.done()
    cell.set((2,))
    assert await waiting == (2,)


async def test_each_reader_has_its_own_place() -> None:
    """Any number of them, begun at any time."""
    cell: Latest[str] = Latest()
    readers = [aiter(cell.changes()) for _ in range(3)]
    waiting = [asyncio.ensure_future(anext(each)) for each in readers]
    await asyncio.sleep(0)
    cell.set("x")
    assert await asyncio.gather(*waiting) == ["x"] * 3


async def test_changes_of_several_cells_are_waited_for_together() -> None:
    """What was there before counts as one change, as does all that came meanwhile."""
    one: Latest[int] = Latest()
    other: Latest[str] = Latest()
    changes = Changes(one, other)
    one.set(1)
    other.set("a")
    assert await changes.wait()
    waiting = asyncio.ensure_future(changes.wait())
    await asyncio.sleep(0)
    other.set("a")
    await asyncio.sleep(0)
    assert not waiting.done()
    one.set(2)
    other.set("b")
    assert await waiting
    assert not await changes.wait(0.01)


@pytest.mark.looptime
async def test_a_reader_waits_no_longer_than_its_patience() -> None:
    """And is woken by no cell that it does not wait for any more."""
    cell: Latest[int] = Latest()
    cell.set(1)
    changes = Changes(cell)
    assert await changes.wait(0)
    begun = asyncio.get_running_loop().time()
    assert not await changes.wait(5)
    assert asyncio.get_running_loop().time() == begun + 5
    cell.set(2)
    assert await changes.wait(5)
    assert asyncio.get_running_loop().time() == begun + 5
