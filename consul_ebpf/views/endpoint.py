"""Serve the endpoint: a unix socket, and TCP where configured."""

import asyncio
import contextlib
import logging
import stat
from pathlib import Path

from aiohttp import web

from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import host_port
from consul_ebpf.views.handlers import Handlers, guarded

logger = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
"""Bytes; an entry has some hundred."""

ANYBODY = 0o666
"""Of the socket: everybody may look, and who registers is checked by his uid."""


async def serve(
    handlers: Handlers, socket: Path, listen: tuple[str, int] | None
) -> None:
    """Serve until cancelled.

    Raises:
        ConsulEbpfError: the socket or the address cannot be had.
    """
    application = web.Application(client_max_size=MAX_BODY, middlewares=[guarded])
    application.add_routes(handlers.routes())
    runner = web.AppRunner(
        application, access_log=None, handle_signals=False, shutdown_timeout=0.5
    )
    await runner.setup()
    try:
        await _open(runner, socket, listen)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
        _unlink(socket)


async def _open(
    runner: web.AppRunner, socket: Path, listen: tuple[str, int] | None
) -> None:
    try:
        _make_way(socket)
        await web.UnixSite(runner, str(socket)).start()
        _let_everybody(socket)
    except OSError as error:
        raise ConsulEbpfError(
            f"api.socket: cannot listen at {socket}: {error.strerror}"
        ) from error
    if listen is not None:
        where = host_port(*listen)
        try:
            await web.TCPSite(runner, *listen, reuse_address=True).start()
        except OSError as error:
            raise ConsulEbpfError(
                f"api.listen: cannot listen at {where}: {error.strerror}"
            ) from error
        logger.info("the endpoint is at %s, too, for reading", where)


def _make_way(socket: Path) -> None:
    """Make the directory; remove the socket of a controller that was killed."""
    if not socket.parent.is_dir():
        socket.parent.mkdir()
        socket.parent.chmod(0o711)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(socket.lstat().st_mode):
            socket.unlink()


def _let_everybody(socket: Path) -> None:
    socket.chmod(ANYBODY)


def _unlink(socket: Path) -> None:
    with contextlib.suppress(OSError):
        socket.unlink()
