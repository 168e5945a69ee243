"""What rounds used for a moment is given back once they have ended."""

import asyncio
import gc
import weakref

import pytest

from consul_ebpf.base import heap
from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.trimming import QUIET_SECONDS, Trimmer


@pytest.mark.looptime
async def test_memory_is_given_back_once_after_the_last_of_several_rounds() -> None:
    """Not after each of them: the next one would only take it again."""
    outcome: Latest[Converged] = Latest()
    times: list[float] = []
    loop = asyncio.get_running_loop()
    settled: list[float] = []
    trimmer = Trimmer(
        outcome,
        lambda: times.append(loop.time()),
        lambda: settled.append(loop.time()),
    )
    task = asyncio.create_task(trimmer.run())
    for proxies in range(3):
        outcome.set(Converged(3, proxies, 0))
        await asyncio.sleep(QUIET_SECONDS / 2)
    last = loop.time() - QUIET_SECONDS / 2
    await asyncio.sleep(10 * QUIET_SECONDS)
    assert times == settled == [pytest.approx(last + QUIET_SECONDS)]
    outcome.set(Converged(3, 7, 0))
    await asyncio.sleep(10 * QUIET_SECONDS)
    assert (len(times), len(settled)) == (2, 1)
    task.cancel()


def test_this_c_library_gives_memory_back() -> None:
    """Nothing is to be seen of it; one without these calls does nothing."""
    heap.give_back()


def test_what_is_settled_is_still_freed() -> None:
    """Unless it is part of a circle."""

    class Thing:
        """Somebody refers to it."""

    thing = Thing()
    gone = weakref.ref(thing)
    heap.settle()
    try:
        assert gc.get_freeze_count() > 0
        del thing
        assert gone() is None
    finally:
        gc.unfreeze()
