"""A costly answer, found out once for all who ask at about the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from consul_ebpf.model.errors import ConsulEbpfError

T = TypeVar("T")

USED_SECONDS = 1.0
"""For which an answer is used."""

PATIENCE_SECONDS = 5.0
"""That a caller waits for one."""


class Cached(Generic[T]):
    """An answer that is found out when somebody asks and the last one is too old.

    Whoever asks meanwhile waits for the same one. A failure is an answer, too.

    Args:
        what: what it is, for an error.
        ask: finds it out.
        seconds: for how long it is used.
        version: returns a number that grows when older answers become wrong.
    """

    def __init__(
        self,
        what: str,
        ask: Callable[[], Awaitable[T]],
        seconds: float = USED_SECONDS,
        version: Callable[[], int] = int,
    ) -> None:
        self._what = what
        self._ask = ask
        self._seconds = seconds
        self._version = version
        self._task: asyncio.Task[T] | None = None
        self._asked_at = 0
        """The version at which it was asked for."""
        self._ended = float("-inf")

    def __repr__(self) -> str:
        return f"<Cached {self._what}>"

    async def get(self, seconds: float | None = None) -> T:
        """Return an answer that was asked for at the present version or a later one.

        Args:
            seconds: how old it may be; None: as old as the constructor says.

        Raises:
            ConsulEbpfError: there is none within 5 seconds. What `ask` raises is
                raised, too.
        """
        oldest = asyncio.get_running_loop().time() - (
            self._seconds if seconds is None else seconds
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                task = await self._answered(self._version(), oldest)
        except TimeoutError:
            raise ConsulEbpfError(
                f"{self._what} is not known after {PATIENCE_SECONDS:g} s: the host is"
                " busy; ask again"
            ) from None
        if (error := task.exception()) is not None:
            raise error.with_traceback(None)
        return task.result()

    async def _answered(self, version: int, oldest: float) -> asyncio.Task[T]:
        """Return a task that began at `version` or later, and ended after `oldest`."""
        loop = asyncio.get_running_loop()
        while True:
            if self._task is None or (
                self._task.done()
                and (self._asked_at < version or self._ended <= oldest)
            ):
                self._asked_at, self._ended = self._version(), float("inf")
                self._task = loop.create_task(self._asking(), name=self._what)
                self._task.add_done_callback(_note_failure)
            task, asked_at = self._task, self._asked_at
            await asyncio.wait([task])  # a caller that gives up does not cancel it
            if asked_at >= version:
                return task

    async def _asking(self) -> T:
        try:
            return await self._ask()
        finally:
            self._ended = asyncio.get_running_loop().time()


def _note_failure(task: "asyncio.Task[T]") -> None:
    """Look at a failure: if all callers gave up, Python would complain of it."""
    if not task.cancelled():
        task.exception()
