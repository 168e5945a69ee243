"""What the HTTP client makes of a server that misbehaves. A real one, on loopback."""

import asyncio
import logging
import socket
import traceback
from contextlib import aclosing
from pathlib import Path

import pytest
from aiohttp import web

from consul_ebpf.client.blocking import watch_query
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.client.token import StaticToken
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.http_address import HttpAddress
from consul_ebpf.servers.sources.catalog import CatalogSource
from tests.lab.http_server import answer, ask, asked, refused, server

SECRET = "5e17eca7-0000-0000-0000-000000000000"


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


@pytest.mark.parametrize("token", ["a\nb: c", "t\xf6ken", "\ud800"])
async def test_fault_113_a_token_no_header_can_hold_is_said(token: str) -> None:
    """By an error that does not repeat it."""
    with pytest.raises(ConsulError, match="the ACL token holds a character") as caught:
        await ask("http://127.0.0.1:1", StaticToken(token))
    assert token not in str(caught.value)


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
