"""Streams followed; `newest_of` is tested by those who merge with it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from consul_ebpf.proxies.sources.following import first_in_time

pytestmark = pytest.mark.looptime


class Slow:
    """Yields 1 and 2, the first after some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.closed = False

    async def stream(self) -> AsyncGenerator[int, None]:
        try:
            await asyncio.sleep(self._seconds)
            yield 1
            yield 2
        finally:
            self.closed = True


@pytest.mark.parametrize(("seconds", "expected"), [(1, [1, 2]), (9, [0, 1, 2])])
async def test_fault_85_a_source_that_does_not_answer_in_time(
    seconds: float, expected: list[int]
) -> None:
    """What is known is told meanwhile, and what it says when it does answer."""
    slow = Slow(seconds)
    async with aclosing(first_in_time(slow.stream(), 5, lambda: 0)) as values:
        assert [value async for value in values] == expected
    assert slow.closed


async def test_given_up_meanwhile() -> None:
    """Whoever stops listening leaves no task behind."""
    before, slow = asyncio.all_tasks(), Slow(100)
    async with aclosing(first_in_time(slow.stream(), 5, lambda: 0)) as values:
        assert await anext(values) == 0
    assert slow.closed
    assert asyncio.all_tasks() == before
