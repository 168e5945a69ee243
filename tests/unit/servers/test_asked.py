"""How often a host asks each server: counted, in virtual time.

docs/performance.md says what this comes to for a fleet.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import grpc
import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.client.calls import STAY_SECONDS, ServerCalls
from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.client.dataplane import METHOD, bootstrap_params
from consul_ebpf.client.leader import METHOD as LEADER
from consul_ebpf.client.messages import BootstrapParamsResponse
from consul_ebpf.model.token_keys import Tokens
from consul_ebpf.model.values import HostProxies, Proxy, Server, ServerState
from consul_ebpf.proxies.params import CentralConfig
from consul_ebpf.servers.pool import ServerPool
from consul_ebpf.servers.probe import CHECK, GrpcProbe
from consul_ebpf.servers.sources.static import StaticSource

pytestmark = pytest.mark.looptime(start=0)

T = TypeVar("T")

ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
PARAMS = f"/hashicorp.consul.{METHOD}"
MINUTE = 60


class Host:
    """What asks the servers, and what it asked, by server and method."""

    def __init__(self, proxies: int) -> None:
        self.asked: dict[str, Counter[str]] = {a: Counter() for a in ADDRESSES}
        self.dead: set[str] = set()
        self.pool = ServerPool(
            StaticSource(ADDRESSES, 8502), GrpcProbe(channel_factory=self.channel)
        )
        self.calls = ServerCalls(self.ready, self.channel)
        named = tuple(Proxy(id=f"web-{n}", node="n") for n in range(proxies))
        self.central = CentralConfig(
            partial(bootstrap_params, self.calls),
            60.0,
            proxies=filled(HostProxies(named)),
            tokens=filled(Tokens({})),
        )

    def channel(self, target: str) -> Any:
        return Channel(self, target.removeprefix("ipv4:").removesuffix(":8502"))

    def ready(self) -> list[Server]:
        states = self.pool.servers
        return [each.server for each in states if each.state is ServerState.READY]

    def total(self, method: str) -> int:
        return sum(asked[method] for asked in self.asked.values())

    def begin(self) -> None:
        """Count from here on."""
        for asked in self.asked.values():
            asked.clear()


class Channel:
    """To one server, which answers at once as Consul does, or never."""

    def __init__(self, host: Host, address: str) -> None:
        self._host = host
        self._address = address

    def unary_unary(self, method: str) -> Callable[..., Awaitable[bytes]]:
        async def call(_: bytes, *, timeout: float, metadata: Any) -> bytes:
            assert not metadata
            self._host.asked[self._address][method] += 1
            if self._address in self._host.dead:
                await asyncio.sleep(timeout)
                raise failure(grpc.StatusCode.DEADLINE_EXCEEDED)
            if method == CHECK:
                raise failure(grpc.StatusCode.UNIMPLEMENTED)
            if method == LEADER:
                raise failure(grpc.StatusCode.INVALID_ARGUMENT)
            assert PARAMS == method
            answer: bytes = BootstrapParamsResponse().SerializeToString()
            return answer

        return call

    async def close(self) -> None:
        pass


def filled(value: T) -> Latest[T]:
    cell = Latest[T]()
    cell.set(value)
    return cell


def failure(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, empty, empty)


@asynccontextmanager
async def running(proxies: int) -> AsyncIterator[Host]:
    """Run a host, and let it come to rest."""
    host = Host(proxies)
    asking = asyncio.create_task(host.central.run())
    async with host.pool:
        await asyncio.sleep(2 * MINUTE)
        host.begin()
        yield host
    asking.cancel()
    await asyncio.wait([asking])


async def test_an_idle_minute() -> None:
    """A call a second for each server, and a call a minute for each proxy."""
    async with running(proxies=50) as host:
        await asyncio.sleep(5 * MINUTE)
        for asked in host.asked.values():
            assert 5 * 55 <= asked[LEADER] <= 5 * 65
            assert asked.keys() <= {LEADER, PARAMS}
        assert 4 * 50 <= host.total(PARAMS) <= 5 * 50


async def test_a_start() -> None:
    """Two calls for each server, and one for each proxy once a server is ready."""
    host = Host(proxies=50)
    asking = asyncio.create_task(host.central.run())
    async with host.pool:
        await asyncio.sleep(0.5)
        for asked in host.asked.values():
            assert {CHECK: 1, LEADER: 1} == {
                key: n for key, n in asked.items() if key != PARAMS
            }
        assert 50 == host.total(PARAMS)
    asking.cancel()
    await asyncio.wait([asking])


async def test_a_dead_server_is_asked_no_more_often() -> None:
    """And its death makes nobody ask the others more."""
    async with running(proxies=50) as host:
        host.dead.add(ADDRESSES[0])
        await asyncio.sleep(5 * MINUTE)
        for asked in host.asked.values():
            assert 5 * 50 <= asked.total() - asked[PARAMS] <= 5 * 65
        # The few that were under way when it died are asked again.
        assert host.total(PARAMS) <= 5 * 50 + 16
        assert host.asked[ADDRESSES[0]][PARAMS] <= 16


async def test_hosts_ask_different_servers() -> None:
    """Each has an order of its own, and keeps it: each server is a third's first."""
    servers = [Server.at(address, 8502) for address in ADDRESSES]
    fleet = [ServerCalls(lambda: servers, insecure_channel) for _ in range(900)]
    first = Counter(calls.servers[0] for calls in fleet)
    assert all(first[server] > 200 for server in servers)
    assert first == Counter(calls.servers[0] for calls in fleet)


async def test_a_server_that_is_back_is_asked_again() -> None:
    """By those that asked it before: else the others would keep its share."""
    async with running(proxies=1) as host:
        await asyncio.sleep(2 * MINUTE)
        (mine,) = [a for a in ADDRESSES if host.asked[a][PARAMS]]
        host.dead.add(mine)
        await asyncio.sleep(2 * MINUTE)
        host.dead.clear()
        await asyncio.sleep(STAY_SECONDS + 2 * MINUTE)
        host.begin()
        await asyncio.sleep(3 * MINUTE)
        assert 2 <= host.asked[mine][PARAMS] == host.total(PARAMS)
