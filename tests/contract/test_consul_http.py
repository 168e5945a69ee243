"""What the HTTP client makes of a server that misbehaves. A real one, on loopback."""

import asyncio
import gzip
import logging
import socket
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from consul_ebpf.client.answers import MAX_BODY
from consul_ebpf.client.blocking import watch_query
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.client.token import StaticToken, no_token
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.http_address import HttpAddress
from consul_ebpf.servers.sources.catalog import CatalogSource

SECRET = "5e17eca7-0000-0000-0000-000000000000"

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


async def test_a_query_says_what_it_must() -> None:
    """The token in a header, a stale read, the index and the wait."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return answer('[{"Node": "a"}]', X_Consul_Index="7")

    async with server(handler) as url:
        result = await ask(url, StaticToken(SECRET), index=5, wait="60s")
    assert ("7", [{"Node": "a"}]) == result
    (request,) = seen
    assert "/v1/catalog/service/consul" == request.path
    assert {"stale": "1", "index": "5", "wait": "60s"} == dict(request.query)
    assert SECRET == request.headers["X-Consul-Token"]


async def test_the_environments_token_does_not_replace_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """py-consul lets it win; who wants it reads it into the configuration."""
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "from-the-environment")
    tokens: list[str | None] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers.get("X-Consul-Token"))
        return answer()

    async with server(handler) as url:
        await ask(url, StaticToken(SECRET))
        await ask(url)
    assert [SECRET, None] == tokens


async def test_the_token_is_asked_for_with_each_request() -> None:
    """A rotated one is used at once."""
    tokens = iter(["one", "two", None])
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("X-Consul-Token"))
        return answer()

    async with server(handler) as url:
        address = HttpAddress.parse(url)
        async with ConsulHttp(address, token=lambda: next(tokens)) as consul:
            for _ in range(3):
                await consul.catalog.service("consul")
    assert ["one", "two", None] == seen


async def test_a_path_in_front_of_consuls_is_kept() -> None:
    """As of a reverse proxy; Consul's own client takes such an address, too."""
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        return answer()

    async with server(handler) as url:
        await ask(f"{url}/consul/")
    assert ["/consul/v1/catalog/service/consul?stale=1"] == seen


async def test_a_unix_socket_is_asked(tmp_path: Path) -> None:
    """`unix:///path`, as Consul's own client takes it."""
    path = tmp_path / "http.sock"
    app = web.Application()

    async def handler(_: web.Request) -> web.StreamResponse:
        return answer('[{"Node": "a"}]', X_Consul_Index="7")

    app.router.add_route("*", "/v1/catalog/service/consul", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(path)).start()
        assert ("7", [{"Node": "a"}]) == await ask(f"unix://{path}")
    finally:
        await runner.cleanup()
    with pytest.raises(ConsulError, match=rf"Consul at unix://{path}: "):
        await ask(f"unix://{path}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_fault_55_a_redirect_is_not_followed(status: int) -> None:
    """The token would go along. The error says where it pointed."""
    strangers: list[web.Request] = []

    async def stranger(request: web.Request) -> web.StreamResponse:
        strangers.append(request)
        return answer()

    async with server(stranger) as elsewhere:
        error = await refused(
            lambda: answer(status=status, Location=elsewhere), StaticToken(SECRET)
        )
    assert f"HTTP {status} redirects to {elsewhere}" in str(error)
    assert [] == strangers


async def test_fault_54_an_endless_answer_is_cut_off() -> None:
    """At the cap, long before the deadline."""
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)
            sent += 65536

    async with asyncio.timeout(8), server(handler) as url:
        with pytest.raises(ConsulError, match="larger than 8 MiB"):
            await ask(url)
    assert sent < 8 * MAX_BODY


async def test_fault_54_a_packed_answer_is_capped_unpacked() -> None:
    """A small gzip file can hold a gigabyte."""
    packed = gzip.compress(b" " * (4 * MAX_BODY))
    assert len(packed) < MAX_BODY / 100
    error = await refused(lambda: answer(packed, Content_Encoding="gzip"))
    assert "larger than 8 MiB" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'[{"Node": "a"',
        b"<html>hello</html>",
        b"\xff\xfe\xff",
        b"[" * 100_000,
        b"[] []",
        b"9" * 5000,
    ],
    ids=["empty", "truncated", "html", "not-utf8", "deep", "trailing", "number"],
)
async def test_fault_53_what_is_not_json_is_an_error(body: bytes) -> None:
    """And the error does not repeat the body."""
    error = await refused(lambda: answer(body))
    assert "is not the JSON it should be" in str(error)
    assert len("".join(traceback.format_exception(error))) < 20_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"0"] * 4_000_000) + b"]",
        b"[" + b",".join([b"0"] * 400_000) + b"]",
        b"[" * 4_000_000,
        b'{"a":' * 1200 + b"0" + b"}" * 1200,
        b'["' + b"x" * (8 * 1024 * 1024 - 10) + b'"]',
    ],
    ids=["8 MB of zeros", "800 KB of zeros", "deep", "1,200 deep", "one text"],
)
async def test_fault_113_no_answer_blocks_the_loop(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its size and shape.

    Measured by the processor's time between two turns of the loop: on a machine that
    is busy with other things the time on the wall says nothing.
    """
    longest = 0.0

    async def ticks() -> None:
        nonlocal longest
        while True:
            before = time.process_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.process_time() - before)

    async def handler(_: web.Request) -> web.StreamResponse:
        return answer(body, X_Consul_Index="1")

    async with server(handler) as url:
        ticking = asyncio.create_task(ticks())
        watch = CatalogSource([url], wait=1).watch()
        async with aclosing(watch):
            answered = asyncio.ensure_future(anext(watch))
            while not (answered.done() or caplog.records):  # it was taken, or refused
                await asyncio.sleep(0.01)
            answered.cancel()
            await asyncio.wait([answered])
        ticking.cancel()
    print(f"the loop waited {longest * 1000:.0f} ms at most")
    assert longest < 0.3


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\ud800", "\ufffd"),
        (r"\uDFFF x", "\ufffd x"),
        (r"\ud800\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud800", r"\ud800"),
        (r"\\\ud800", "\\\ufffd"),
    ],
)
async def test_fault_113_half_a_surrogate_pair_is_no_text(
    written: str, read: str
) -> None:
    """It is read as Go reads it, so that one node's name costs no other's."""
    assert ("0", [read]) == await asked(lambda: answer(f'["{written}"]'))


async def test_fault_113_an_error_has_the_status_that_refused() -> None:
    """Who decides by it need not read the message."""
    error = await refused(lambda: answer("no", status=403))
    assert 403 == error.status
    assert (await refused(lambda: answer("x"))).status is None


@pytest.mark.parametrize("token", ["a\nb: c", "t\xf6ken", "\ud800"])
async def test_fault_113_a_token_no_header_can_hold_is_said(token: str) -> None:
    """By an error that does not repeat it."""
    with pytest.raises(ConsulError, match="the ACL token holds a character") as caught:
        await ask("http://127.0.0.1:1", StaticToken(token))
    assert token not in str(caught.value)


async def test_fault_53_a_body_shorter_than_it_says_is_an_error() -> None:
    """The connection ended in the middle of it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"[]")
        assert request.transport
        request.transport.close()
        return response

    async with server(handler) as url:
        with pytest.raises(ConsulError):
            await ask(url)


@pytest.mark.parametrize("index", [None, "", "-1", "x", "1.5", "9" * 5000, "\u0661"])
async def test_fault_50_an_index_that_is_none_is_zero(index: str | None) -> None:
    """The data is good; py-consul alone would raise."""
    assert ("0", []) == await asked(lambda: answer(X_Consul_Index=index))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999", 300.0),
        ("soon", None),
        ("-5", None),
        ("Wed, 21 Oct 2065 07:28:00 GMT", None),
        (None, None),
    ],
)
async def test_retry_after_is_kept_on_the_error(
    header: str | None, seconds: float | None
) -> None:
    """In seconds, within reason; a date would trust a wall clock."""
    error = await refused(lambda: answer("busy", 503, Retry_After=header))
    assert seconds == error.retry_after
    assert "HTTP 503: busy" in str(error)


async def test_an_error_says_what_consul_said() -> None:
    """On one line, of bearable length."""
    body = "rpc error\nmaking call: Permission denied\t" + "x" * 10_000
    error = await refused(lambda: answer(body, 403))
    assert "HTTP 403: rpc error making call: Permission denied x" in str(error)
    assert len(str(error)) < 300


async def test_no_error_holds_the_token(caplog: pytest.LogCaptureFixture) -> None:
    """Not even when the server sends it back, nor in the traceback or the log."""
    caplog.set_level(logging.DEBUG)
    token = StaticToken(SECRET)
    errors = [
        await refused(lambda: answer(f"no such token {SECRET}", 403), token),
        await refused(lambda: answer(status=302, Location=f"/?t={SECRET}"), token),
        await refused(lambda: answer(f"[{SECRET}"), token),
    ]
    with pytest.raises(ConsulError) as caught:
        await ask("http://127.0.0.1:1", token)
    for error in [*errors, caught.value]:
        assert SECRET not in "".join(traceback.format_exception(error))
    assert SECRET not in caplog.text


async def test_fault_17_an_answer_emptied_by_acls_is_an_error() -> None:
    """It says nothing about the servers."""

    def filtered(body: str) -> web.Response:
        return answer(body, X_Consul_Results_Filtered_By_ACLs="true")

    assert "service:read" in str(await refused(lambda: filtered("[]")))
    assert ("0", [1]) == await asked(lambda: filtered("[1]"))


async def test_nobody_listening_is_an_error_that_says_so() -> None:
    """In the system's words."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConsulError, match=f"Consul at {url}: Connection refused"):
            await ask(url)


async def test_a_proxy_in_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would see the token."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert ("3", []) == await asked(lambda: answer(X_Consul_Index="3"))


@pytest.mark.looptime(start=0)
async def test_fault_52_a_server_that_hangs_or_drips_meets_the_deadline() -> None:
    """For a blocking query too: the wait and 10 s."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if "drip" in request.query_string:
            await response.prepare(request)
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.2)
        await asyncio.sleep(60)
        return response

    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with server(handler) as url:
        errors = await asyncio.gather(
            ask(url), ask(url, tag="drip"), ask(url, index=1, wait="1s"),
            return_exceptions=True,
        )  # fmt: skip
    assert 10 <= loop.time() - begun < 14
    assert ["10 s", "10 s", "11 s"] == [str(e).rpartition("within ")[2] for e in errors]


async def test_fault_10_a_watch_goes_on_to_the_address_that_answers() -> None:
    """Its log names who failed and who answers, without a token."""
    lists = iter(['[{"Node": "a", "Address": "10.0.0.1"}]', "[]"])

    async def good(request: web.Request) -> web.StreamResponse:
        if "index" in request.query:
            await asyncio.sleep(60)
        return answer(next(lists), X_Consul_Index="5")

    async def bad(_: web.Request) -> web.StreamResponse:
        return answer("No cluster leader", 500)

    async with server(good) as good_url, server(bad) as bad_url:
        source = CatalogSource([bad_url, "127.0.0.1:1", good_url], grpc_port=9000)
        async with asyncio.timeout(5), aclosing(source.watch()) as watching:
            (found,) = await anext(watching)
    assert "10.0.0.1:9000" == found.endpoint


async def test_fault_118_an_agent_without_a_leader_gives_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """X-Consul-KnownLeader says so; the next address is asked at once."""

    async def cut_off(_: web.Request) -> web.StreamResponse:
        return answer(X_Consul_Index="5", X_Consul_KnownLeader="false")

    async def well(_: web.Request) -> web.StreamResponse:
        known = '[{"Node": "a", "Address": "10.0.0.1"}]'
        return answer(known, X_Consul_Index="5", X_Consul_KnownLeader="true")

    async with server(cut_off) as first, server(well) as second:
        async with aclosing(CatalogSource([first, second]).watch()) as watch:
            assert ["10.0.0.1:8502"] == [each.endpoint for each in await anext(watch)]
        async with aclosing(CatalogSource([first]).watch()) as watch:
            assert () == await anext(watch)
    assert f"Consul at {first}: it knows no leader" in caplog.text


async def test_a_watch_that_is_left_closes_its_connections() -> None:
    """Cancelled in the middle of a blocking query."""
    waiting = asyncio.Event()
    gone = asyncio.Event()

    async def handler(_: web.Request) -> web.StreamResponse:
        waiting.set()
        try:
            await asyncio.sleep(60)
        finally:
            gone.set()
        return answer()

    async def watch(url: str) -> None:
        async for _ in watch_query(
            [url],
            lambda consul, index, wait: consul.catalog.nodes(index=index, wait=wait),
            lambda data: data,
            what="the nodes",
        ):
            pass

    async with server(handler) as url:
        task = asyncio.create_task(watch(url))
        await waiting.wait()
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(5):
            await gone.wait()
