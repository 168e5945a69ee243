"""Serves an application by aiohttp, at sockets that are already open."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable

from aiohttp import web

from consul_ebpf.views.connections import Connections, QuietLogger

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
        logger=QuietLogger(logger),
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
