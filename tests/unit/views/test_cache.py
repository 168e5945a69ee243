"""What is found out once for many."""

import asyncio

import pytest

from consul_ebpf.model.errors import ConsulEbpfError, KernelError
from consul_ebpf.views.cache import Cached

pytestmark = pytest.mark.looptime


class Costly:
    """Counts how often it was found out; takes a while."""

    def __init__(self, takes: float = 0.1) -> None:
        self.takes = takes
        self.count = 0
        self.failing = False

    async def __call__(self) -> int:
        self.count += 1
        await asyncio.sleep(self.takes)
        if self.failing:
            raise KernelError("no")
        return self.count


async def test_one_answer_for_all_who_ask_at_once() -> None:
    """And for those that ask within a second."""
    costly = Costly()
    fresh = Cached("it", costly)
    assert [1] * 100 == await asyncio.gather(*(fresh.get() for _ in range(100)))
    await asyncio.sleep(0.5)
    assert 1 == await fresh.get()
    await asyncio.sleep(0.6)
    assert 2 == await fresh.get()


async def test_an_answer_from_before_is_none_where_that_matters() -> None:
    """Even one that is being found out just now."""
    costly = Costly()
    version = 1
    fresh = Cached("it", costly, version=lambda: version)
    early = asyncio.create_task(fresh.get())
    await asyncio.sleep(0.05)
    version = 2
    assert 2 == await fresh.get()
    assert 1 == await early
    version = 3
    assert 3 == await fresh.get()


async def test_who_wants_a_new_answer_gets_one() -> None:
    """Or the one that is being found out just now."""
    costly = Costly()
    fresh = Cached("it", costly)
    assert 1 == await fresh.get()
    assert [2] * 5 == await asyncio.gather(*(fresh.get(seconds=0) for _ in range(5)))
    assert 2 == await fresh.get()


async def test_who_gives_up_leaves_it_to_the_others() -> None:
    """The answer comes all the same."""
    costly = Costly()
    fresh = Cached("it", costly)
    first = asyncio.create_task(fresh.get())
    await asyncio.sleep(0.05)
    second = asyncio.create_task(fresh.get())
    await asyncio.sleep(0)
    first.cancel()
    assert 1 == await second
    assert 1 == costly.count


async def test_a_failure_is_an_answer_for_as_long() -> None:
    """Then it is tried again."""
    costly = Costly()
    costly.failing = True
    fresh = Cached("it", costly)
    for _ in range(5):
        with pytest.raises(KernelError, match=r"^no$"):
            await fresh.get()
    assert 1 == costly.count
    costly.failing = False
    await asyncio.sleep(1.1)
    assert 2 == await fresh.get()


async def test_nobody_waits_for_ever() -> None:
    """One line says what was asked for; who asks later has the answer."""
    costly = Costly(takes=8.0)
    fresh = Cached("the status", costly)
    with pytest.raises(ConsulEbpfError, match="the status is not known after 5 s"):
        await fresh.get()
    assert 1 == await fresh.get()
    await asyncio.sleep(0.5)
    assert 1 == await fresh.get()
