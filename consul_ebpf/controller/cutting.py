"""Cuts the connections of proxies to dead servers.

A server that hangs or has no power sends no reset, so its proxies would wait for their
own keepalive. The kernel knows which sockets are connected through a VIP to which
server, and can destroy them. Their owners connect again, and get another server.
"""

import asyncio
import functools
import logging
from collections.abc import Mapping

from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.errors import KernelError, UnsupportedError
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.model.values import (
    Endpoint,
    PooledServer,
    ServerState,
    SlottedServer,
)
from consul_ebpf.planning.sockets import doomed

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 3.0
"""Until a dead server's connections are cut once more: one may just have been made when
it died."""

CUT_AT_ONCE = 200
"""Connections cut at a time, within about a second; a stop must wait that long."""

Pending = dict[Endpoint, int]
"""How often each dead server's connections are still to be cut."""


class Cutter:
    """Cuts the connections to each dead server twice, once the kernel knows its state.

    Args:
        tables: knows the sockets.
        servers: says which servers are dead.
        rows: the servers' rows as the kernel has them.
        namespaces: destroys sockets; None: nothing is to be cut.
        users: whose connections they are, for the log.
        instead: what helps if nothing can be cut, for the log.
    """

    def __init__(
        self,
        tables: Tables,
        servers: Latest[tuple[PooledServer, ...]],
        rows: Latest[Mapping[int, SlottedServer]],
        namespaces: Namespaces | None,
        *,
        users: str = "proxies",
        instead: str = "Envoy's keepalive finds a dead server within 30 s",
    ) -> None:
        self._users = users
        self._instead = instead
        self._tables = tables
        self._servers = servers
        self._rows = rows
        self._namespaces = namespaces
        self._failing = False

    def __repr__(self) -> str:
        return f"<Cutter {self._namespaces!r}>"

    async def run(self) -> None:
        """Cut until cancelled, but not from a server that is back meanwhile."""
        loop = asyncio.get_running_loop()
        pending: Pending = {}
        known: set[Endpoint] = set()
        due = 0.0
        changes = Changes(self._servers, self._rows)
        while True:
            # A timer may end a moment too early; what it waited for counts as due.
            patience = max(0.0, due - loop.time()) if pending else None
            is_due = not await changes.wait(patience) or loop.time() >= due
            dead = dead_of(in_kernel(self._servers.value, self._rows.value))
            pending = {where: n for where, n in pending.items() if where in dead}
            new, known = dead - known, dead
            pending |= dict.fromkeys(new, 2)
            if pending and (new or is_due):
                if await self._cut(pending):
                    pending = {where: n - 1 for where, n in pending.items() if n > 1}
                due = loop.time() + AGAIN_SECONDS

    async def _cut(self, pending: Pending) -> bool:
        """Cut once. True: done, or impossible on this host (do not retry)."""
        namespaces = self._namespaces
        if namespaces is None:
            return True
        try:
            sockets = doomed(await self._tables.read(), pending)
            count = 0
            for start in range(0, len(sockets), CUT_AT_ONCE):
                part = sockets[start : start + CUT_AT_ONCE]
                count += await finish(functools.partial(namespaces.destroy, part))
        except UnsupportedError as error:
            logger.warning(
                "%s; %s",
                error,
                self._instead,
                extra=event("cut_failed"),
            )
            self._namespaces = None
            return True
        except KernelError as error:
            if not self._failing:
                logger.warning("%s; trying again", error, extra=event("cut_failed"))
            self._failing = True
            return False
        self._failing = False
        if count:
            named = ", ".join(sorted({each.server.endpoint for each in sockets}))
            logger.warning(
                "dead: %s; cut %d connections of %s to there",
                named,
                count,
                self._users,
                extra=event("cut", count),
            )
        return True


def in_kernel(
    servers: tuple[PooledServer, ...] | None, rows: Mapping[int, SlottedServer] | None
) -> tuple[PooledServer, ...]:
    """Return the servers that the kernel has in the same state."""
    held = {(row.endpoint, row.state) for row in (rows or {}).values()}
    return tuple(s for s in servers or () if (s.endpoint, s.state) in held)


def dead_of(servers: tuple[PooledServer, ...]) -> set[Endpoint]:
    """Return the endpoints of dead servers; none while no other server is ready."""
    if not any(each.state is ServerState.READY for each in servers):
        return set()
    return {each.endpoint for each in servers if each.dead}
