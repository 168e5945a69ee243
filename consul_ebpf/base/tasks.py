"""Tasks that last: one that starts again, some of them, one for each key of a set."""

import asyncio
import functools
import logging
import traceback
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Mapping,
)
from typing import TypeVar

from consul_ebpf.base.events import event
from consul_ebpf.base.lines import one_line
from consul_ebpf.base.retry import growing
from consul_ebpf.model.errors import ConsulEbpfError

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

FIRST_PAUSE_SECONDS = 1.0
"""From a failure of a task to its next start; twice as long after each further one."""
LONGEST_PAUSE_SECONDS = 60.0

STEADY_SECONDS = 60.0
"""A task that ran this long has recovered: its next failure is a first one."""


Work = Callable[[], Awaitable[None]]
"""What a task does: a part's `run`."""


async def keep_all_running(
    parts: Mapping[str, Work], *, fatal: tuple[type[BaseException], ...] = ()
) -> None:
    """Run all parts beside each other, each kept running under its name.

    A part's fatal error ends them all and is raised.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            for name, part in parts.items():
                running = keep_running(name, part, fatal=fatal)
                tasks.create_task(running, name=name)
    except BaseExceptionGroup as group:
        # One part's failure cancelled the others: it is the one to tell.
        raise group.exceptions[0] from group


async def keep_running(
    name: str,
    work: Work,
    *,
    fatal: tuple[type[BaseException], ...] = (),
) -> None:
    """Run `work()` until it returns; when it raises, start it again after a pause.

    So an exception that nobody foresaw ends one task and not the controller. It is
    logged with its traceback the first time, and in one line while it stays the same.

    Args:
        name: of the task, for the log: "proxies", "token of proxy web-1".
        work: makes and runs the task anew each time.
        fatal: these end the task for good and are raised.
    """
    loop = asyncio.get_running_loop()
    failures, said = 0, ""
    while True:
        begun = loop.time()
        try:
            await work()
        except fatal:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, others go on
            if loop.time() - begun >= STEADY_SECONDS:
                failures, said = 0, ""
            pause = growing(failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            failures += 1
            said = _say(name, error, pause, said)
        else:
            return
        await asyncio.sleep(pause)


def _say(name: str, error: Exception, pause: float, said: str) -> str:
    """Log one failure; return what tells it from another one."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    what = f"{type(error).__name__}: {one_line(error, 300)}"
    same = f"{what} {place[0].filename}:{place[0].lineno}" if place else what
    expected = isinstance(error, ConsulEbpfError)
    if same == said:
        logger.debug("%s: failed as before; started again in %g s", name, pause)
    else:
        logger.error(
            "%s: %s; started again in %g s",
            name,
            one_line(error) if expected else what,
            pause,
            exc_info=None if expected else error,
            extra=event("task_failed"),
        )
    return same


async def for_each(
    keys: AsyncIterable[Collection[K]],
    work: Callable[[K], Awaitable[None]],
    *,
    name: Callable[[K], str],
    between: Callable[[Collection[K]], Awaitable[None]] | None = None,
) -> None:
    """Run `work(key)` for each key of the newest set, until cancelled.

    A key that leaves has its task cancelled. A task that raises is started again; see
    `keep_running`. One that returns is done for as long as its key stays.

    Args:
        keys: the sets; the next is asked for when this one's tasks are started.
        work: makes and runs a key's task anew each time.
        name: of a key's task, for the log.
        between: awaited with each new set, when the tasks of the keys that left have
            ended, and before those of new keys are started.
    """
    running: dict[K, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        async for wanted in keys:
            gone = [running.pop(key) for key in running.keys() - set(wanted)]
            for task in gone:
                task.cancel()
            if gone:  # all at once: each may need a moment to end what is under way
                await asyncio.wait(gone)
            if between is not None:
                await between(wanted)
            for key in wanted:
                if key not in running:
                    each = keep_running(name(key), functools.partial(work, key))
                    running[key] = tasks.create_task(each, name=name(key))
