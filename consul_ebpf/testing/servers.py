"""A server source and a health probe that a test controls."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable

from consul_ebpf.base.latest import Latest
from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import Server


class FakeServerSource:
    """A `ServerSource` whose list a test sets."""

    def __init__(self, servers: Iterable[Server] | None = None) -> None:
        """Start with `servers`; None: yield nothing until `set` is called."""
        self._cell: Latest[tuple[Server, ...]] = Latest()
        if servers is not None:
            self.set(servers)

    def set(self, servers: Iterable[Server]) -> None:
        """Make this the list; it may be empty."""
        self._cell.set(tuple(servers))

    def watch(self) -> AsyncIterator[tuple[Server, ...]]:
        """Yield the whole list at once and again after each change, for ever."""
        return self._cell.changes()


class FakeProbe:
    """A `HealthProbe` that finds every server alive until the test says otherwise."""

    def __init__(self, *, timeout: float = 1.0) -> None:
        """`timeout`: seconds after which a probe of a hung server gives up."""
        self._timeout = timeout
        self._dead: set[str] = set()
        self._hung: set[str] = set()
        self._leaders: dict[str, bool] = {}
        self.checks: Counter[str] = Counter()
        """How often each server id was probed."""
        self.closed = False

    def kill(self, *ids: str) -> None:
        """Let these servers refuse at once."""
        self._dead.update(ids)

    def hang(self, *ids: str) -> None:
        """Let these servers never answer."""
        self._hung.update(ids)

    def revive(self, *ids: str) -> None:
        """Let these servers answer again."""
        self._dead.difference_update(ids)
        self._hung.difference_update(ids)

    def lead(self, *ids: str, leader: bool) -> None:
        """Let these servers tell whether they know a leader; before, they do not."""
        self._leaders.update(dict.fromkeys(ids, leader))

    async def check(self, server: Server) -> Health:
        """Probe once."""
        self.closed = False
        self.checks[server.id] += 1
        if server.id in self._hung:
            await asyncio.sleep(self._timeout)
            return Health(alive=False, reason="DEADLINE_EXCEEDED")
        await asyncio.sleep(0)
        if server.id in self._dead:
            return Health(alive=False, reason="UNAVAILABLE: connection refused")
        leader = self._leaders.get(server.id)
        return Health(alive=True, reason="SERVING", leader=leader)

    async def aclose(self) -> None:
        """Note that it was closed; a check opens it again."""
        self.closed = True
