"""The ping of the watchdog. Time is virtual."""

import asyncio

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.controller.watchdog import Watchdog

pytestmark = pytest.mark.looptime(start=0)


async def test_fault_84_work_that_does_not_go_on_ends_the_ping(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Half a minute after its last step; and it is there again when it ends."""
    progress = Progress(asyncio.get_running_loop().time)
    alive: Latest[int] = Latest()
    task = asyncio.create_task(Watchdog(progress, alive).run())
    with progress.working("a round") as step:
        for _ in range(10):
            await asyncio.sleep(25)
            step()
        assert alive.version >= 120
        await asyncio.sleep(40)
        before = alive.version
        await asyncio.sleep(60)
        assert alive.version == before
    assert 1 == caplog.text.count("a round has not gone on for 30 s")
    await asyncio.sleep(20)
    assert alive.version >= before + 9
    task.cancel()
