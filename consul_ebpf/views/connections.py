"""The endpoint's connections: who may have one. aiohttp then reads HTTP and answers."""

import asyncio
import logging
import socket
import ssl
from typing import Any

from aiohttp import web

from consul_ebpf.base.boundary import reason
from consul_ebpf.views.guard import Guard, Patience
from consul_ebpf.views.peers import peer_uid
from consul_ebpf.views.refusals import Handler
from consul_ebpf.views.room import Room, Who

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
"""Until accepting is tried again, if there was no descriptor for it."""

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 45\r\n\r\n"
    b'{"error": "too many connections; come again"}'
)


class Connections:
    """Accepts connections and hands them to aiohttp's server.

    Args:
        room: limits how many there are.
        patience: limits how long each may take.
        tls: makes them ones of TLS.
    """

    def __init__(
        self,
        room: Room,
        patience: Patience | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._room = room
        self._patience = patience or Patience()
        self._tls = tls
        self._guards: dict[asyncio.BaseProtocol, Guard] = {}

    def __repr__(self) -> str:
        return f"<Connections {len(self._guards)}>"

    @web.middleware
    async def counted(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Stop a connection's timer while its request is answered."""
        guard = self._guards.get(request.protocol)
        if guard is None:
            return await handler(request)
        guard.begin()
        try:
            return await handler(request)
        finally:
            guard.end()

    async def accept(self, listener: socket.socket, server: web.Server) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    connection, address = await loop.sock_accept(listener)
                except (
                    OSError
                ) as error:  # no descriptor is left, or the client has gone
                    logger.debug("the endpoint cannot accept: %s", reason(error))
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                taking = self._take(connection, address, server)
                if self._tls is None:
                    await taking
                else:  # nobody else waits for this one's handshake
                    tasks.create_task(taking)
                # However many connect, requests are answered in between.
                await asyncio.sleep(0)

    async def _take(
        self, connection: socket.socket, address: Any, server: web.Server
    ) -> None:
        try:
            await self._serve(connection, address, server)
        except OSError as error:  # the client has gone, or speaks no TLS
            logger.debug("a connection of the endpoint: %s", reason(error))
            connection.close()

    async def _serve(
        self, connection: socket.socket, address: Any, server: web.Server
    ) -> None:
        uid = peer_uid(connection)
        who: Who = address[0] if uid is None else uid
        if not (self._room.enter(who) or self._makes_way(who)):
            named = f"address {who}" if uid is None else f"uid {who}"
            logger.debug("the endpoint has no room for a connection of %s", named)
            connection.setblocking(False)
            with connection:
                connection.send(FULL)
            return
        inner = server()
        guard = Guard(inner, self._patience, who, lambda: self._left(inner, who))
        self._guards[inner] = guard
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: guard,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._patience.request if self._tls else None,
            )
        except BaseException:
            self._left(inner, who)
            raise

    def _makes_way(self, who: Who) -> bool:
        """Close the oldest idle connection of those that leave no room for `who`.

        So a client that holds idle connections does not keep itself out either.

        Returns:
            Whether there is room now, and `who` was counted.
        """
        rivals = self._room.in_the_way(who)
        for guard in self._guards.values():
            if guard.who in rivals and guard.idle:
                guard.drop("makes way for another")
                return self._room.enter(who)
        return False

    def _left(self, inner: asyncio.BaseProtocol, who: Who) -> None:
        if self._guards.pop(inner, None) is not None:
            self._room.leave(who)
