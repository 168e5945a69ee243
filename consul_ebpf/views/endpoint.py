"""Serves the endpoint at sockets that are already open."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable

from aiohttp import web

from consul_ebpf.views.answers import guarded
from consul_ebpf.views.connections import Connections, Patience, QuietLogger
from consul_ebpf.views.handlers import MAX_BODY, Handlers
from consul_ebpf.views.listeners import Listeners
from consul_ebpf.views.room import Room

logger = logging.getLogger(__name__)

MAX_LINE = 8 * 1024
"""Bytes that a request's line, and each header, may have."""


async def serve(
    handlers: Handlers,
    listeners: Listeners,
    room: Room,
    patience: Patience | None = None,
) -> None:
    """Serve until cancelled; the caller closes `listeners` afterwards.

    Args:
        handlers: answer the requests.
        listeners: the sockets.
        room: limits how many connections there are.
        patience: limits how long each may take.
    """
    connections = Connections(room, patience)
    application = web.Application(
        client_max_size=MAX_BODY, middlewares=[connections.counted, guarded]
    )
    application.add_routes(handlers.routes())
    await serve_application(application, connections, listeners.all)


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
