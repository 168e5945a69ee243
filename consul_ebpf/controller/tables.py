"""The kernel's tables for several parts: one writes at a time; a stuck one is named."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.kernel_table import KernelTable, Planned
from consul_ebpf.model.seams import Applied
from consul_ebpf.model.values import KernelState, PooledServer, SlottedServer, Vip

T = TypeVar("T")


class Tables:
    """Awaitable access to a `KernelTable`. Waiting for a turn does not count as stuck.

    Args:
        kernel: knows what the tables hold.
        progress: notes which work is under way.
        rows: is filled with the servers' rows after each write.
    """

    def __init__(
        self,
        kernel: KernelTable,
        progress: Progress,
        rows: Latest[Mapping[int, SlottedServer]],
    ) -> None:
        self._kernel = kernel
        self._progress = progress
        self._rows = rows
        self._turn = asyncio.Lock()
        self._reading = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Tables {self._kernel!r}>"

    async def program(self, planned: Planned) -> Applied:
        """Write what a plan says; see `KernelTable.program`.

        Others have their turn after each step: a dead server's state does not wait for
        the rows of 65,536 proxies.
        """
        steps, applied = self._kernel.program(planned), Applied()
        while True:
            some = await self._use("a round", lambda: next(steps, None))
            if some is None:
                return applied
            applied += some

    async def follow_states(self, servers: Iterable[PooledServer]) -> None:
        """Write the states of servers; see `KernelTable.follow_states`."""
        follow = self._kernel.follow_states
        await self._use("writing server states", lambda: follow(servers))

    async def read(self) -> KernelState:
        """Read the tables and their counters."""
        # Without the writers' lock: a table of many proxies takes long to read, and a
        # dead server's state must not wait for that.
        async with self._reading:
            with self._progress.working("reading the tables"):
                return await finish(self._kernel.backend.read)

    async def stay(self, vips: Sequence[Vip]) -> None:
        """Make the next connect of each VIP go to the same server as its last one."""
        await self._use("writing cursors", lambda: self._kernel.backend.stay(vips))

    async def mend(self) -> tuple[str, ...]:
        """Put back what others have removed; return one line for each thing."""
        return await self._use("the upkeep", self._kernel.backend.mend)

    async def _use(self, name: str, work: Callable[[], T]) -> T:
        """Run blocking work on the backend in a thread, to its end.

        `name` is what the log calls the work if it gets stuck.
        """
        async with self._turn:
            with self._progress.working(name):
                done = await finish(work)
            self._rows.set(self._kernel.table.servers)
            return done
