"""Connections that are none: too many, too slow, too large, not HTTP."""

import asyncio
import contextlib
import json
import logging
import os
import socket
from pathlib import Path

import aiohttp
import pytest

from consul_ebpf.views.connections import FULL
from consul_ebpf.views.guard import Patience
from consul_ebpf.views.room import Limits
from tests.unit.views.test_endpoint import WEB, World, serving

SHORT = Patience(request=0.3, idle=0.3, unread=20_000)


def connect(world: World) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(str(world.socket))
    return client


def ending(client: socket.socket) -> bytes:
    """Return all that comes until the connection ends."""
    said = b""
    try:
        while part := client.recv(65536):
            said += part
    except ConnectionError:
        pass
    return said


async def end_of(client: socket.socket) -> bytes:
    with client:
        return await asyncio.to_thread(ending, client)


async def healthy(world: World) -> bool:
    for _ in range(3):  # on a busy machine a whole request may take longer than SHORT
        with contextlib.suppress(aiohttp.ServerDisconnectedError):
            return (await world.ask("GET", "/v1/health"))[0] == 200
    return False


NONSENSE = {
    "garbage": os.urandom(64) + b"\r\n\r\n",
    "nul": b"\0" * 100 + b"\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + os.urandom(200) + b"\r\n\r\n",
    "http/0.9": b"GET /v1/status\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET / HTTP/x\r\n\r\n",
    "bad method": b"G\xc3\x89T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long line": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "terminal codes": b"GET /\x1b[2J HTTP/1.1\r\nHost: \x1b[2J\nERROR x\r\n\r\n",
    "two lengths": b"PUT /v1/proxies/x HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "length of 5000 digits": b"PUT / HTTP/1.1\r\nContent-Length: "
    + b"9" * 5000
    + b"\r\n\r\n",
    "length and chunks": b"PUT /v1/proxies/x HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunks that are none": b"PUT /v1/proxies/x HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a chunk of 2**64": b"PUT /v1/proxies/x HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
    "an encoding nobody knows": b"PUT /v1/proxies/x HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: x\r\n\r\n",
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_fault_128_nonsense_is_one_debug_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """An answer of 400, or none; no traceback, no error; others are served."""
    caplog.set_level(logging.DEBUG, logger="consul_ebpf")
    async with serving(tmp_path, patience=SHORT) as world:
        client = connect(world)
        await asyncio.to_thread(client.sendall, NONSENSE[what])
        said = await end_of(client)
        assert not said or said.startswith(b"HTTP/1."), said
        assert b" 500 " not in said
        assert b"Traceback" not in said
        assert await healthy(world)
    lines = [each for each in caplog.records if each.name != "asyncio"]
    assert not [each for each in lines if each.levelno > logging.DEBUG]
    assert not [each for each in lines if each.exc_info]
    assert 2 >= len(lines), caplog.text
    for each in lines:
        assert each.getMessage().isprintable()


REQUESTS = {
    "a path of surrogates": b"GET /v1/proxies/%ed%a0%80 HTTP/1.1\r\n",
    "a path with NUL": b"GET /v1/proxies/a%00b HTTP/1.1\r\n",
    "a path with a line end": b"GET /v1/proxies/a%0d%0ab HTTP/1.1\r\n",
    "a path outside": b"GET /v1/proxies/..%2f..%2fetc HTTP/1.1\r\n",
    "no path": b"GET * HTTP/1.1\r\n",
    "a whole URL": b"GET http://evil.example/v1/status HTTP/1.1\r\n",
    "connect": b"CONNECT localhost:80 HTTP/1.1\r\n",
    "trace": b"TRACE /v1/status HTTP/1.1\r\n",
    "a body nobody asked for": b"GET /v1/health HTTP/1.1\r\nContent-Length: 3\r\n",
    "expects": b"PUT /v1/proxies/x HTTP/1.1\r\nExpect: the-spanish-inquisition\r\n",
    "websocket": b"GET /v1/health HTTP/1.1\r\nUpgrade: websocket\r\n"
    b"Connection: upgrade\r\nSec-WebSocket-Key: x\r\n",
    "timeouts": b"GET /v1/proxies/x?wait=connected&timeout=1e999 HTTP/1.0\r\n"
    b"Content-Length: x\r\n",
    "a query of nonsense": b"GET /v1/proxies/web?wait=%ff&timeout=%00 HTTP/1.1\r\n",
    "deflated": b"PUT /v1/proxies/x HTTP/1.1\r\nContent-Encoding: deflate\r\n"
    b"Content-Length: 3\r\n",
    "gzipped": b"PUT /v1/proxies/x HTTP/1.1\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 3\r\n",
}


@pytest.mark.parametrize("what", REQUESTS)
async def test_fault_128_strange_requests_are_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """With what is wrong, below 500; nothing above debug is logged."""
    caplog.set_level(logging.DEBUG, logger="consul_ebpf")
    async with serving(tmp_path, patience=SHORT) as world:
        world.converged(WEB)
        client = connect(world)
        head = REQUESTS[what] + b"Host: localhost\r\nConnection: close\r\n\r\n"
        body = b"abc" if b"Length" in head else b""
        await asyncio.to_thread(client.sendall, head + body)
        said = await end_of(client)
        assert said.split(b" ")[1][:1] in {b"2", b"4"}, said
        assert await healthy(world)
    assert not [each for each in caplog.records if each.levelno > logging.DEBUG]


@pytest.mark.parametrize(
    "begins",
    [
        b"",
        b"GET /v1/hea",
        b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/h",
    ],
)
async def test_fault_128_who_does_nothing_is_left(
    tmp_path: Path, begins: bytes
) -> None:
    """Before a request, within one, after an answer, and in the next request."""
    async with serving(tmp_path, patience=SHORT) as world:
        client = connect(world)
        client.sendall(begins)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        said = await end_of(client)
        assert 0.2 < loop.time() - begun < 3
        assert bool(said) == (b"\r\n\r\n" in begins)


async def test_fault_128_a_request_by_drops_is_left(tmp_path: Path) -> None:
    """A byte now and then does not make more time."""
    async with serving(tmp_path, patience=SHORT) as world:
        client = connect(world)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        begun = loop.time()

        async def drip() -> None:
            for byte in b"GET /v1/health HTTP/1.1\r\n" * 100:
                client.send(bytes([byte]))
                await asyncio.sleep(0.05)

        with pytest.raises(ConnectionError):
            await drip()
        client.close()
        assert loop.time() - begun < 2


async def test_who_waits_for_an_answer_is_not_idle(tmp_path: Path) -> None:
    """However long that takes; and a further request is served after it."""
    async with serving(tmp_path, patience=SHORT) as world:
        client = connect(world)
        wait = b"GET /v1/proxies/web?wait=programmed&timeout=20 HTTP/1.1\r\n"
        client.sendall(wait + b"Host: localhost\r\n\r\n")
        await asyncio.sleep(1.0)
        world.converged(WEB)
        said = b""
        while not said.endswith(b"}"):
            said += await asyncio.to_thread(client.recv, 65536)
        assert said.startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /v1/health HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert (await end_of(client)).startswith(b"HTTP/1.0 200")


async def test_fault_128_a_flood_of_requests_is_cut(tmp_path: Path) -> None:
    """Who sends on and on while he waits for the first answer is not kept in memory."""
    async with serving(tmp_path, patience=Patience(unread=20_000)) as world:
        client = connect(world)
        client.setblocking(False)
        wait = b"GET /v1/proxies/web?wait=programmed&timeout=20 HTTP/1.1\r\n"
        request = wait + b"Host: localhost\r\n\r\n"
        sent = 0
        try:
            for _ in range(10_000):
                sent += client.send(request)
                await asyncio.sleep(0)
        except OSError:
            pass
        client.close()
        assert sent < 2_000_000
        assert await healthy(world)


WAIT = (
    b"GET /v1/proxies/web?wait=programmed&timeout=20 HTTP/1.1\r\n"
    b"Host: localhost\r\n\r\n"
)


async def test_fault_130_further_connections_are_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With an answer, where all that are there are in use; each is one debug line."""
    caplog.set_level(logging.DEBUG, logger="consul_ebpf")
    limits = Limits(total=8, others=4, each=4)
    # Nobody is known here, so that we ourselves are one of the others.
    async with serving(tmp_path, frozenset(), limits=limits) as world:
        held = [connect(world) for _ in range(4)]
        for each in held:
            each.sendall(WAIT)
        await asyncio.sleep(0.1)
        for _ in range(10):
            assert FULL == await end_of(connect(world))
        for each in held:
            each.close()
        await asyncio.sleep(0.1)
        assert await healthy(world)
    refused = [each for each in caplog.records if "no room" in each.getMessage()]
    assert 10 == len(refused)
    assert {logging.DEBUG} == {each.levelno for each in caplog.records}


async def test_fault_130_idle_connections_make_way(tmp_path: Path) -> None:
    """Of the same user, the oldest first; those in use stay."""
    limits = Limits(total=8, others=4, each=4)
    async with serving(tmp_path, frozenset(), limits=limits) as world:
        used = connect(world)
        used.sendall(WAIT)
        await asyncio.sleep(0.1)
        held = [connect(world) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert await healthy(world)
        assert b"" == await end_of(held[0])
        for _ in range(20):
            held.append(connect(world))
            assert await healthy(world)
        world.converged(WEB)
        said = await asyncio.to_thread(used.recv, 65536)
        assert said.startswith(b"HTTP/1.1 200")
        for each in (*held, used):
            each.close()


def test_the_answer_where_there_is_no_room_is_whole() -> None:
    """Its length is what it says."""
    head, _, body = FULL.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["error"]


async def test_over_tcp_there_are_limits_too(tmp_path: Path) -> None:
    """For each address."""
    limits = Limits(tcp=4, address=3)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with serving(tmp_path, limits=limits, listen=("127.0.0.1", port)) as world:
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for each in held:
            each.sendall(WAIT)
        await asyncio.sleep(0.1)
        late = socket.create_connection(("127.0.0.1", port))
        assert FULL == await end_of(late)
        assert await healthy(world)
        for each in held:
            each.close()
