"""Blocking work beside the event loop."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SWITCH_SECONDS = 0.0005
"""How long a thread may compute while another one waits for its turn."""


def switch_often() -> None:
    """Give each thread its turn soon, whatever the others compute.

    By default Python's threads wait 5 ms for each other, several times for one row of
    the kernel's tables: 20 ms while two threads go through the files of 65,536 proxies.
    """
    sys.setswitchinterval(SWITCH_SECONDS)


async def to_end(task: "asyncio.Future[T]") -> T:
    """Wait until a task has ended, even if the caller is cancelled meanwhile."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):  # cancelled once more
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # or asyncio logs that nobody looked at it
        raise


async def finish(
    work: Callable[[], T], undo: Callable[[T], object] = lambda _: None
) -> T:
    """Run blocking work in a thread until it ends, even if cancelled meanwhile.

    When cancelled, `undo` gets the result, because the caller never will.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await to_end(task)
    except asyncio.CancelledError:
        if not task.cancelled() and task.exception() is None:
            undo(task.result())
        raise
