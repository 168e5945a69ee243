"""Limits what an idle connection, or one that sends nonsense, can cost."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from consul_ebpf.base.boundary import reason
from consul_ebpf.views.room import Who

logger = logging.getLogger(__name__)


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


class Guard(asyncio.Protocol):
    """One connection: hands all to aiohttp's protocol, with a timer and a count.

    Args:
        inner: aiohttp's protocol.
        patience: limits it.
        who: is at its other end.
        left: called once it counts no more; a second call must change nothing.
    """

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
        """Start the timer for the first request."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream's
        self._transport = transport
        self._within(self._patience.request)
        self._inner.connection_made(transport)
        if self._dropped:  # during TLS' handshake
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Count the bytes and hand them on; start the timer for a new request."""
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
        """Hand it on."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Hand it on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, and tell all."""
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
