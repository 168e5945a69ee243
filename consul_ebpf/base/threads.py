"""Blocking work beside the event loop."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def to_end(task: "asyncio.Future[T]") -> T:
    """Wait for a task, to its end even when cancelled meanwhile."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):  # cancelled once more
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nobody else will look at it
        raise


async def finish(
    work: Callable[[], T], undo: Callable[[T], object] = lambda _: None
) -> T:
    """Run blocking work in a thread, to its end even when cancelled meanwhile.

    Then its result is given to `undo`, as nobody else will see it.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await to_end(task)
    except asyncio.CancelledError:
        if not task.cancelled() and task.exception() is None:
            undo(task.result())
        raise
