"""Server states go to the kernel first and alone."""

import contextlib

from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import PooledServer


class ServerStates:
    """Writes the states of servers at once, whatever a round is doing meanwhile.

    Fills `servers`, what the rounds go by, so none of them begins to go through all
    proxies before the states are written.
    """

    def __init__(
        self,
        tables: Tables,
        pooled: Latest[tuple[PooledServer, ...]],
        servers: Latest[tuple[PooledServer, ...]],
    ) -> None:
        self._tables = tables
        self._pooled = pooled
        self._servers = servers

    def __repr__(self) -> str:
        return f"<ServerStates {self._tables!r}>"

    async def run(self) -> None:
        """Follow, until cancelled."""
        async for servers in self._pooled.changes():
            with contextlib.suppress(KernelError):  # a round tries again, and says so
                await self._tables.follow_states(servers)
            self._servers.set(servers)
