"""The one-slot cell between two tasks."""

import asyncio

from consul_ebpf.base.latest import Latest


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
