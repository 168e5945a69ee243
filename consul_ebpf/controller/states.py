"""Writes the servers' states to the kernel before anything else happens with them."""

import contextlib

from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import PooledServer


class ServerStates:
    """Writes the servers' states at once, even while a round is under way.

    It then fills `servers`, which the rounds read. So no round begins to go through all
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
            with contextlib.suppress(KernelError):  # a round tries again, and logs it
                await self._tables.follow_states(servers)
            self._servers.set(servers)
