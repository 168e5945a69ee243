"""Cut the connections of proxies to servers that are dead.

A powered-off or hung server sends no reset: its proxies would wait for their own
keepalive. The kernel knows which sockets went through a VIP to which server, and
destroys them; their owners connect again and are led elsewhere.
"""

import functools
import logging
from collections.abc import Awaitable, Callable

from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.threads import finish
from consul_ebpf.model.errors import KernelError, UnsupportedError
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.model.values import KernelState, PooledServer, Server, ServerState
from consul_ebpf.planning.sockets import doomed

logger = logging.getLogger(__name__)

AGAIN = 3.0
"""Seconds after which a dead server's connections are looked for once more: one that
was being made when it died."""

PART = 200
"""Connections cut at a time, in about a second: the controller's end waits for that."""

Pending = dict[Server, int]
"""Dead servers, and how often their connections are still to be looked for."""


class Cutter:
    """Follows the servers as programmed; cuts the dead ones' connections, twice."""

    def __init__(
        self,
        read: Callable[[], Awaitable[KernelState]],
        namespaces: Namespaces | None,
    ) -> None:
        """Read the kernel's account by `read`; without `namespaces` do nothing."""
        self._read = read
        self._namespaces = namespaces
        self._failing = False

    def __repr__(self) -> str:
        return f"<Cutter {self._namespaces!r}>"

    async def follow(self, servers: Latest[tuple[PooledServer, ...]]) -> None:
        """Cut for ever. A server that comes back before its turn is let be."""
        pending: Pending = {}
        known: set[Server] = set()
        version = 0
        while True:
            await servers.changed_since(version, AGAIN if pending else None)
            version = servers.version
            dead = dead_of(servers.value or ())
            pending = {server: n for server, n in pending.items() if server in dead}
            pending |= dict.fromkeys(dead - known, 2)
            known = dead
            if pending and await self._cut(pending):
                pending = {server: n - 1 for server, n in pending.items() if n > 1}

    async def _cut(self, pending: Pending) -> bool:
        """Cut once; whether that was done, or never can be."""
        namespaces = self._namespaces
        if namespaces is None:
            return True
        try:
            sockets = doomed(await self._read(), pending)
            count = 0
            for start in range(0, len(sockets), PART):
                part = sockets[start : start + PART]
                count += await finish(functools.partial(namespaces.destroy, part))
        except UnsupportedError as error:
            logger.warning(
                "%s; Envoy's keepalive finds a dead server within 30 s",
                error,
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
                "dead: %s; cut %d connections of proxies to there",
                named,
                count,
                extra=event("cut", count),
            )
        return True


def dead_of(servers: tuple[PooledServer, ...]) -> set[Server]:
    """Return who is dead; nobody while no other is ready to take their proxies."""
    if not any(each.state is ServerState.READY for each in servers):
        return set()
    return {each.server for each in servers if each.dead}
