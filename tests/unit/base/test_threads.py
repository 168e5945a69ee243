"""Blocking work that is carried through."""

import asyncio
import sys
import threading
from collections.abc import Callable

import pytest

from consul_ebpf.base.threads import finish, switch_often


class Work:
    """Blocks in its thread until `go`; `begun` is set when it has begun."""

    def __init__(self, answer: Callable[[], str]) -> None:
        self.begun = asyncio.Event()
        self.go = threading.Event()
        self._answer = answer
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> str:
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(60)
        return self._answer()


def fail() -> str:
    raise OSError("no")


async def test_the_answer_comes_back() -> None:
    """And nothing is undone."""
    undone: list[str] = []
    assert "done" == await finish(lambda: "done", undone.append)
    assert [] == undone


async def test_an_error_comes_back() -> None:
    """As it is."""
    with pytest.raises(OSError, match="no"):
        await finish(fail)


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled_it_waits_and_undoes(times: int) -> None:
    """However often it is cancelled: the second signal of somebody impatient."""
    undone: list[str] = []
    work = Work(lambda: "done")
    task = asyncio.create_task(finish(work, undone.append))
    await work.begun.wait()
    for _ in range(times):
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
    work.go.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert ["done"] == undone


async def test_cancelled_there_is_nothing_to_undo_of_what_failed() -> None:
    """The cancellation comes all the same."""
    undone: list[str] = []
    work = Work(fail)
    task = asyncio.create_task(finish(work, undone.append))
    await work.begun.wait()
    task.cancel()
    work.go.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [] == undone


def test_threads_do_not_wait_long_for_each_other() -> None:
    """A server's death is written while others compute."""
    before = sys.getswitchinterval()
    try:
        switch_often()
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    finally:
        sys.setswitchinterval(before)
