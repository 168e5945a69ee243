"""What logins make of servers that misbehave. Real ones, on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consul_ebpf.client.acl import ConsulAcl
from consul_ebpf.client.calls import ServerCalls
from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.client.messages import LoginResponse
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.lifetime import FOREVER, UNKNOWN
from consul_ebpf.model.token_keys import HOST
from consul_ebpf.model.values import Credentials, Login, Server
from tests.lab.tokens import Tokens

BEARER = "the-bearer"
HOW = Login("jwt", bearer_token=BEARER)
SECRET = "5e7f6f0c-0000-4000-8000-000000000000"

WRONG = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"7",
    b'"x"',
    b'{"SecretID": []}',
    b'{"SecretID": "two words"}',
    b'{"SecretID": "a\\u0000b"}',
    b'{"SecretID": "\\ud800"}',
    b"[" * 1200,
    b"\xff\xfe",
]


@asynccontextmanager
async def by_http(body: bytes, status: int = 200) -> AsyncIterator[ConsulAcl]:
    """Answer every request so."""

    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        calls = ServerCalls(list, insecure_channel)
        yield ConsulAcl(calls, [f"http://127.0.0.1:{server.port}"])


@asynccontextmanager
async def by_grpc(
    answer: bytes, code: grpc.StatusCode = grpc.StatusCode.OK
) -> AsyncIterator[ConsulAcl]:
    """Answer every call so."""

    class Answers(grpc.GenericRpcHandler):  # type: ignore[misc] # untyped
        def service(self, _: Any) -> Any:
            async def call(__: bytes, context: Any) -> bytes:
                if code is not grpc.StatusCode.OK:
                    await context.abort(code, f"said of {BEARER} and {SECRET}")
                return answer

            return grpc.unary_unary_rpc_method_handler(call)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Answers()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    here = Server.at("127.0.0.1", port)
    calls = ServerCalls(lambda: [here], insecure_channel)
    try:
        yield ConsulAcl(calls, [])
    finally:
        await calls.aclose()
        await server.stop(None)


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize("body", WRONG)
async def test_fault_91_any_answer_over_http_is_a_token_or_an_error(
    body: bytes,
) -> None:
    """In one line that shows no secret; of the lifetime nothing is known then."""
    async with by_http(body) as acl:
        with pytest.raises(ConsulError) as caught:
            await acl.login(HOW)
        assert await acl.lifetime(SECRET, HOW) == UNKNOWN
    said = str(caught.value)
    assert said.startswith("Consul at ")
    assert said.isprintable()
    assert BEARER not in said


@pytest.mark.parametrize("secret", ["", "two words", "a\x00b", "\u00e4", "x" * 70000])
async def test_fault_91_any_answer_over_grpc_is_a_token_or_an_error(
    secret: str,
) -> None:
    """What is no token goes into no header."""
    wrong = LoginResponse(token={"secret_id": secret}).SerializeToString()
    for answer in (wrong, b"\xff\xff\xff", b"\x0a\x05\x0a\x03\xff\xff\xff"):
        async with by_grpc(answer) as acl:
            with pytest.raises(ConsulError) as caught:
                await acl.login(HOW)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("code", "gone"),
    [
        ("OK", True),
        ("PERMISSION_DENIED", True),
        ("UNAUTHENTICATED", True),
        ("NOT_FOUND", True),
        ("INTERNAL", False),
        ("UNAVAILABLE", False),
        ("UNIMPLEMENTED", False),
        ("CANCELLED", False),
    ],
)
async def test_a_token_is_logged_out_or_tried_again(code: str, gone: bool) -> None:
    """By the status, not by its words."""
    async with by_grpc(b"", grpc.StatusCode[code]) as acl:
        if gone:
            await acl.logout(SECRET, HOW)
            return
        with pytest.raises(ConsulError) as caught:
            await acl.logout(SECRET, HOW)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("status", "gone"), [(200, True), (403, True), (500, False)])
async def test_a_log_out_over_http(status: int, gone: bool) -> None:
    """403 is for a token that is not known, whatever else an answer says."""
    async with by_http(b"HTTP 403, or so", status) as acl:
        if gone:
            await acl.logout(SECRET, HOW)
        else:
            with pytest.raises(ConsulError, match="HTTP 500"):
                await acl.logout(SECRET, HOW)


async def test_never_expires_is_told_over_http() -> None:
    """By a description without an end."""
    async with by_http(b'{"CreateTime": "2026-01-01T00:00:00Z"}') as acl:
        assert await acl.lifetime(SECRET, HOW) == FOREVER


@pytest.mark.looptime(start=0)
async def test_fault_91_a_keeper_outlives_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once, and asks again."""
    async with by_http(b"[]") as acl:
        host = Tokens(acl, tmp_path, Credentials(login=HOW))
        async with host.kept():
            async for _ in host.keeper.tokens.changes():
                if "holds no token" in host.missing[HOST]:
                    break
            await asyncio.sleep(20)
            assert "holds no token" in host.missing[HOST]
    assert caplog.text.count("holds no token") == 1
