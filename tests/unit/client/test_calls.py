"""How long a server has to answer. Time is virtual."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from consul_ebpf.client import acl_grpc
from consul_ebpf.client.acl_grpc import LOGIN_SECONDS
from consul_ebpf.client.calls import CALL_SECONDS, ServerCalls
from consul_ebpf.client.messages import LoginResponse
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Login, Server

pytestmark = pytest.mark.looptime(start=0)

SLOW, QUICK = Server.at("10.0.0.1", 8502), Server.at("10.0.0.2", 8502)
HOW = Login("k8s", "the-bearer")


class Channel:
    """Answers each login after so many seconds; notes the deadlines it is given."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadlines: list[float] = []
        self.cut_off = 0

    def unary_unary(self, method: str) -> Callable[..., Awaitable[bytes]]:
        async def call(_: bytes, *, timeout: float, metadata: Any) -> bytes:
            assert not metadata
            assert method.endswith("ACLService/Login")
            self.deadlines.append(timeout)
            try:
                await asyncio.sleep(self.seconds)
            except asyncio.CancelledError:
                self.cut_off += 1
                raise
            answer = LoginResponse(token={"accessor_id": "a", "secret_id": "made"})
            made: bytes = answer.SerializeToString()
            return made

        return call

    async def close(self) -> None:
        pass


class Servers:
    """Two of them, and the calls to those that are up."""

    def __init__(self, seconds: float) -> None:
        self.slow, self.quick = Channel(seconds), Channel(0.1)
        self.up = [SLOW, QUICK]
        channels: dict[str, Any] = {"1": self.slow, "2": self.quick}
        self.calls = ServerCalls(
            lambda: self.up,
            lambda target: channels[target.rpartition(":")[0][-1]],
            rank=lambda server: server is not SLOW,
        )

    async def log_in(self) -> str:
        return await acl_grpc.login(self.calls, HOW, "the-bearer")


async def test_a_login_has_a_minute() -> None:
    """Other calls a few seconds: one that is cut off has made a token all the same."""
    servers = Servers(50)
    assert await servers.log_in() == "made"
    assert servers.slow.deadlines == [LOGIN_SECONDS]
    assert (servers.quick.deadlines, servers.slow.cut_off) == ([], 0)


async def test_a_login_leaves_a_server_that_is_no_longer_up() -> None:
    """Nobody waits a minute for one that hangs once its probes say so."""
    servers = Servers(1000)
    login = asyncio.create_task(servers.log_in())
    await asyncio.sleep(1)
    servers.up = [QUICK]
    begun = asyncio.get_running_loop().time()
    assert await login == "made"
    assert asyncio.get_running_loop().time() - begun < CALL_SECONDS + 1
    assert servers.slow.cut_off == 1


async def test_a_login_that_is_cancelled_is_cut_off_at_once() -> None:
    """And leaves no task behind."""
    servers = Servers(1000)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7):
            await servers.log_in()
    await asyncio.sleep(0)
    assert servers.slow.cut_off == 1
    servers.up = []
    with pytest.raises(ConsulError, match="none is known to be up"):
        await servers.log_in()
