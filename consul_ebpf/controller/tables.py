"""The kernel's tables for many users: one writer at a time, none stuck unnoticed."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from consul_ebpf.base.progress import Progress
from consul_ebpf.base.threads import finish
from consul_ebpf.model.seams import MapBackend
from consul_ebpf.model.values import KernelState, Vip

T = TypeVar("T")


class Tables:
    """A `MapBackend` to be awaited. Waiting for one's turn is no work."""

    def __init__(self, backend: MapBackend, progress: Progress) -> None:
        self._backend = backend
        self._progress = progress
        self._turn = asyncio.Lock()
        self._reading = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Tables {self._backend!r}>"

    async def use(self, name: str, work: Callable[[Callable[[], None]], T]) -> T:
        """Run blocking work that uses the backend; it is given what to call at steps.

        Args:
            name: of the work, for the log should it get stuck.
            work: runs in a thread, to its end.
        """
        async with self._turn:
            with self._progress.working(name) as step:
                return await finish(lambda: work(step))

    async def read(self) -> KernelState:
        """Read the tables and their counters."""
        # Beside the writers: a table of many proxies takes long to read, and a
        # server's death must not wait for that.
        async with self._reading:
            with self._progress.working("reading the tables"):
                return await finish(self._backend.read)

    async def stay(self, vips: Sequence[Vip]) -> None:
        """Make the next connect of each VIP go where its last one went."""
        await self.use("writing cursors", lambda _: self._backend.stay(vips))

    async def mend(self) -> tuple[str, ...]:
        """Put back what others took away; return a line for each."""
        return await self.use("the upkeep", lambda _: self._backend.mend())
