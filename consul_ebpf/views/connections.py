"""The endpoint's connections: how many there are, how long, and how much they send.

This decides who may connect, and limits what an idle connection, or one that sends
nonsense, can cost. aiohttp then reads HTTP and answers.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.lines import one_line
from consul_ebpf.views.answers import Handler
from consul_ebpf.views.peers import peer_uid
from consul_ebpf.views.room import Room, Who

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
"""Until accepting is tried again, if there was no descriptor for it."""

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 45\r\n\r\n"
    b'{"error": "too many connections; come again"}'
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may take, in seconds, and how much it may send."""

    request: float = 10.0
    """For a request's line and headers, from its first byte on. The connection's first
    request has this long from the connection's beginning on."""
    idle: float = 30.0
    """From an answer to the next request's first byte, and to read the answer."""
    unread: int = 256 * 1024
    """Bytes that may arrive from the beginning of one request to that of the next."""


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
        self._guards: dict[asyncio.BaseProtocol, _Guard] = {}

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
        guard = _Guard(inner, self._patience, who, lambda: self._left(inner, who))
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


class _Guard(asyncio.Protocol):
    """One connection: hands all to aiohttp's protocol, with a timer and a count."""

    def __init__(
        self,
        inner: asyncio.Protocol,
        patience: Patience,
        who: Who,
        left: Callable[[], None],
    ) -> None:
        self.who = who
        self._inner = inner
        self._patience = patience
        self._left = left
        self._transport: asyncio.Transport | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._reading = True
        self._answering = 0
        self._unread = 0
        self._dropped = False

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self._answering

    def begin(self) -> None:
        """Note that a request is being answered, which may take any time."""
        self._answering += 1
        self._unread = 0
        self._within(None)

    def end(self) -> None:
        """Note that it is answered."""
        self._answering -= 1
        self._reading = False
        self._within(self._patience.idle)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream's
        self._transport = transport
        self._within(self._patience.request)
        self._inner.connection_made(transport)
        if self._dropped:  # during TLS' handshake
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        if self._unread > self._patience.unread:
            self.drop("sends more than a request can hold")
            return
        if not self._answering and not self._reading:
            self._reading = True
            self._within(self._patience.request)
        try:
            self._inner.data_received(data)
        except Exception as error:  # noqa: BLE001  # whatever nonsense leads to
            self.drop(reason(error))

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._within(None)
        self._left()
        self._inner.connection_lost(exc)

    def _within(self, seconds: float | None) -> None:
        """Set the timer anew; None stops it."""
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if seconds is not None and self._transport is not None:
            loop = asyncio.get_running_loop()
            self._clock = loop.call_later(seconds, self.drop, "is idle for too long")

    def drop(self, why: str) -> None:
        """Close the connection at once; `why` completes "it …"."""
        logger.debug("a connection of the endpoint is closed: it %s", why)
        self._left()
        self._dropped = True
        if self._transport is not None:
            self._transport.abort()


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """Makes one debug line of whatever aiohttp logs.

    What handlers raise does not get to aiohttp, so it only logs malformed requests.
    """

    def log(
        self,
        level: int,
        msg: object,
        *args: object,
        **kwargs: Any,
    ) -> None:
        """Log at debug level, without a traceback."""
        del level
        error = kwargs.get("exc_info")
        why = f": {reason(error)}" if isinstance(error, BaseException) else ""
        text = str(msg) % args if args else str(msg)
        self.logger.debug("%s%s", one_line(text), why)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Change nothing."""
        return msg, kwargs
