"""What rounds used for a moment is given back once they have ended."""

import asyncio

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
    trimmer = Trimmer(outcome, lambda: times.append(loop.time()))
    task = asyncio.create_task(trimmer.run())
    for proxies in range(3):
        outcome.set(Converged(3, proxies, 0))
        await asyncio.sleep(QUIET_SECONDS / 2)
    last = loop.time() - QUIET_SECONDS / 2
    await asyncio.sleep(10 * QUIET_SECONDS)
    task.cancel()
    assert times == [pytest.approx(last + QUIET_SECONDS)]


def test_this_c_library_gives_memory_back() -> None:
    """Nothing is to be seen of it; one without these calls does nothing."""
    heap.give_back()
