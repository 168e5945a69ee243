"""Serves an application by aiohttp, at sockets that are already open."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable, MutableMapping
from typing import Any

from aiohttp import web

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.lines import one_line
from consul_ebpf.views.connections import Connections

logger = logging.getLogger(__name__)

MAX_LINE = 8 * 1024
"""Bytes that a request's line, and each header, may have."""


async def serve_application(
    application: web.Application,
    connections: Connections,
    listening: Iterable[socket.socket],
) -> None:
    """Serve until cancelled; the caller closes the sockets afterwards.

    Args:
        application: answers the requests.
        connections: accepts and limits connections.
        listening: the sockets.
    """
    runner = web.AppRunner(
        application,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=0.5,
        logger=_QuietLogger(logger),
        auto_decompress=False,  # or a small body could become a large one
        lingering_time=1.0,
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
    )
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101  # setup() made it
    try:
        async with asyncio.TaskGroup() as tasks:
            for each in listening:
                tasks.create_task(connections.accept(each, server))
    finally:
        with contextlib.suppress(TimeoutError):
            await runner.cleanup()


class _QuietLogger(logging.LoggerAdapter[logging.Logger]):
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
