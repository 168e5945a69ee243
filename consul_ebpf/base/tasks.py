"""Tasks that last: one for each key of a changing set, and one that starts again."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import TypeVar

from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Latest
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


async def keep_running(
    name: str,
    work: Callable[[], Awaitable[None]],
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
    keys: Latest[Collection[K]],
    work: Callable[[K], Awaitable[None]],
    *,
    name: str,
) -> None:
    """Run `work(key)` for each key of the newest set, until cancelled.

    A key that leaves has its task cancelled, and one that comes back gets a new one
    once the old one has ended. A task that raises is started again; see
    `keep_running`. One that returns is done for as long as its key stays.
    """
    running: dict[K, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        async for wanted in keys.changes():
            gone = [running.pop(key) for key in running.keys() - set(wanted)]
            for task in gone:
                task.cancel()
            if gone:
                await asyncio.wait(gone)
            for key in wanted:
                if key not in running:
                    running[key] = tasks.create_task(
                        keep_running(f"{name} {key}".strip(), _bound(work, key)),
                        name=f"{name} {key}",
                    )


def _bound(
    work: Callable[[K], Awaitable[None]], key: K
) -> Callable[[], Awaitable[None]]:
    return lambda: work(key)
