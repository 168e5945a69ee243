"""What the gRPC client makes of servers that misbehave. Real ones, on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest

from consul_ebpf.client import dataplane, watch_servers
from consul_ebpf.client.calls import CallError, ServerCalls
from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.client.messages import BootstrapParamsResponse
from consul_ebpf.model.errors import ConsulError, TokenRefusedError
from consul_ebpf.model.values import Proxy, Server
from tests.lab.answering import list_of, serving

SECRET = "5e17eca7-0000-0000-0000-000000000000"
PARAMS = f"/hashicorp.consul.{dataplane.METHOD}"
PROXY = Proxy(id="web", node="n")


@asynccontextmanager
async def calling(*servers: Server) -> AsyncIterator[ServerCalls]:
    """Make calls to these."""
    calls = ServerCalls(lambda: servers, insecure_channel)
    try:
        yield calls
    finally:
        await calls.aclose()


GARBAGE = {
    "garbage": b"\xff\xff\xff",
    "cut": b"\x12\x05x",
    "not UTF-8": b"\x12\x02\xff\xfe",
    "deep": b"\x32\x04" + b"\x0a\x02" * 500,
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
async def test_fault_114_garbage_is_an_error_of_that_server(answer: bytes) -> None:
    """In one printable line that names it; it may repeat nothing secret."""
    async with serving(answer) as server, calling(server) as calls:
        with pytest.raises(ConsulError) as caught:
            await dataplane.bootstrap_params(calls, PROXY, SECRET)
    assert str(caught.value).isprintable()
    assert server.endpoint in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_fault_114_after_garbage_another_server_is_asked() -> None:
    """Only the one that sent it is no good."""
    good = BootstrapParamsResponse(identity="web").SerializeToString()
    async with (
        serving(b"\xff\xff") as bad,
        serving(good) as other,
        calling(bad, other) as calls,
    ):
        found = await dataplane.bootstrap_params(calls, PROXY, "")
    assert found is not None
    assert "web" == found.identity


async def test_fault_114_an_answer_without_end_is_cut_off() -> None:
    """A megabyte is more than any that is needed."""
    async with serving(b"\x0a" + b"x" * (2 << 20)) as server, calling(server) as calls:
        with pytest.raises(ConsulError):
            await dataplane.bootstrap_params(calls, PROXY, "")


async def test_fault_114_what_a_server_says_is_shown_on_one_line() -> None:
    """Without terminal codes, and without the secrets should it repeat them."""

    async def refuses(context: Any) -> bytes:
        said = f"no:\n2026 ERROR x\x1b[2J {SECRET} " + "y" * 5000
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, said)
        return b""

    async with serving(refuses) as server, calling(server) as calls:
        with pytest.raises(TokenRefusedError, match="PERMISSION_DENIED") as caught:
            await dataplane.bootstrap_params(calls, PROXY, SECRET)
    assert str(caught.value).isprintable()
    assert "<token>" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("token", ["a\nb", "t\xf6ken", "\ud800", "\x00"])
async def test_fault_114_a_token_that_cannot_be_sent_is_said(token: str) -> None:
    """By an error that does not repeat it."""
    async with serving() as server, calling(server) as calls:
        with pytest.raises(ConsulError, match="the ACL token holds") as caught:
            await dataplane.bootstrap_params(calls, PROXY, token)
    assert token not in str(caught.value)


async def test_fault_114_a_channel_closed_under_a_call_is_an_error() -> None:
    """Not the cancellation that gRPC's library makes of it: nobody cancelled us."""

    async def hangs(_: Any) -> bytes:
        await asyncio.sleep(60)
        return b""

    async with serving(hangs) as server, calling(server) as calls:
        call = asyncio.create_task(dataplane.bootstrap_params(calls, PROXY, ""))
        await asyncio.sleep(0.2)
        await calls.aclose()
        with pytest.raises(ConsulError):
            await call


@pytest.mark.parametrize(
    "strange",
    [
        b"\xff\xff\xff",
        b"\x0a\x04\x0a\x02\xff\xfe",
        list_of(*[(str(i), "10.0.0.1") for i in range(20_000)]),
        b"\x0a" + b"x" * (2 << 20),
    ],
    ids=["garbage", "not UTF-8", "20,000 servers", "two megabytes"],
)
async def test_fault_114_a_list_that_is_none_is_an_error(strange: bytes) -> None:
    """What came before it stands."""
    async with serving(lists=[list_of(("a", "10.0.0.1")), strange]) as server:
        answers = watch_servers.watch_servers(insecure_channel, server, SECRET)
        async with aclosing(answers) as lists:
            first = await anext(lists)
            with pytest.raises(CallError) as caught:
                await anext(lists)
    assert [("a", "10.0.0.1", "")] == list(first)
    assert str(caught.value).isprintable()
