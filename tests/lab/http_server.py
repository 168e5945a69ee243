"""An HTTP server that answers what a test says, and a question to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.client.token import no_token
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.http_address import HttpAddress

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    """Serve HTTP on a free loopback port; give its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def answer(
    body: bytes | str = b"[]", status: int = 200, **headers: str | None
) -> web.Response:
    """Give a fresh answer as Consul would: `X_Consul_Index="5"` is a header."""
    named = {key.replace("_", "-"): value for key, value in headers.items() if value}
    content = body if isinstance(body, bytes) else body.encode()
    return web.Response(body=content, status=status, headers=named)


async def ask(url: str, token: Any = no_token, **query: Any) -> tuple[str, Any]:
    """Ask for the servers once."""
    async with ConsulHttp(HttpAddress.parse(url), token=token) as consul:
        result: tuple[str, Any] = await consul.catalog.service("consul", **query)
        return result


async def asked(
    reply: Callable[[], web.StreamResponse], token: Any = no_token
) -> tuple[str, Any]:
    """Ask a server that always replies so."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return reply()

    async with server(handler) as url:
        return await ask(url, token)


async def refused(
    reply: Callable[[], web.StreamResponse], token: Any = no_token
) -> ConsulError:
    """Ask a server that always replies so; give the error that makes."""
    with pytest.raises(ConsulError) as caught:
        await asked(reply, token)
    assert "\n" not in str(caught.value)
    assert "http://127.0.0.1:" in str(caught.value)
    return caught.value
