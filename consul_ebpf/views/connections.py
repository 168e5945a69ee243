"""The endpoint's connections: how many, how long, how large, before HTTP is looked at.

aiohttp reads HTTP and answers; who may connect, and what a connection that does nothing
or sends nonsense costs, is decided here.
"""

import asyncio
import logging
import socket
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

ACCEPT_AGAIN = 0.1
"""Seconds until accepting is tried again where there is no descriptor for it."""

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 45\r\n\r\n"
    b'{"error": "too many connections; come again"}'
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may do nothing, in seconds, and how much it may send."""

    request: float = 10.0
    """For a request's line and headers, from its first byte; from the connection's
    beginning for its first request."""
    idle: float = 30.0
    """From one answer to the next request's first byte; also for taking the answer."""
    unread: int = 256 * 1024
    """Bytes from the beginning of one request to that of the next."""


class Connections:
    """Accepts connections and leads them to a server of aiohttp's.

    Args:
        room: who may have how many.
        patience: with each.
    """

    def __init__(self, room: Room, patience: Patience | None = None) -> None:
        self._room = room
        self._patience = patience or Patience()
        self._guards: dict[asyncio.BaseProtocol, _Guard] = {}

    def __repr__(self) -> str:
        return f"<Connections {len(self._guards)}>"

    @web.middleware
    async def counted(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Stop a connection's clock while its request is answered."""
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
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:  # no descriptor is left; or it has gone again
                logger.debug("the endpoint cannot accept: %s", reason(error))
                await asyncio.sleep(ACCEPT_AGAIN)
                continue
            try:
                await self._take(connection, address, server)
            except OSError as error:  # it has gone again
                logger.debug("a connection of the endpoint: %s", reason(error))
                connection.close()
            # Others are answered between two connections, however many there are.
            await asyncio.sleep(0)

    async def _take(
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
                lambda: guard, connection
            )
        except BaseException:
            self._left(inner, who)
            raise

    def _makes_way(self, who: Who) -> bool:
        """Close the oldest connection in the way that nobody waits at, if there is one.

        So who holds idle connections takes nothing from himself either.
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
    """One connection: hands all to aiohttp's protocol, with a clock and a measure."""

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

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self._answering

    def begin(self) -> None:
        """Take note that a request is answered now: that takes what it takes."""
        self._answering += 1
        self._unread = 0
        self._within(None)

    def end(self) -> None:
        """Take note that it is answered."""
        self._answering -= 1
        self._reading = False
        self._within(self._patience.idle)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream's
        self._transport = transport
        self._within(self._patience.request)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        if self._unread > self._patience.unread:
            self.drop("sends more than anybody asks here")
            return
        if not self._answering and not self._reading:
            self._reading = True
            self._within(self._patience.request)
        try:
            self._inner.data_received(data)
        except Exception as error:  # noqa: BLE001  # whatever nonsense brings forth
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
        """Set the clock anew; None stops it."""
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if seconds is not None and self._transport is not None:
            loop = asyncio.get_running_loop()
            self._clock = loop.call_later(seconds, self.drop, "is idle for too long")

    def drop(self, why: str) -> None:
        """Close it at once."""
        logger.debug("a connection of the endpoint is closed: it %s", why)
        self._left()
        if self._transport is not None:
            self._transport.abort()


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """Makes one debug line of all that aiohttp says.

    What handlers raise never gets to aiohttp, so that is of requests which are none.
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
