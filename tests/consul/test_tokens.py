"""Tokens of logins at real servers: how often they are asked, what a deletion costs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consul_ebpf import Credentials, Login, Proxy, Server
from consul_ebpf.client.acl import ConsulAcl
from consul_ebpf.client.calls import ServerCalls
from consul_ebpf.client.channels import insecure_channel
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.jwt import METHOD, Issuer
from tests.lab.long import seconds
from tests.lab.tokens import Tokens

pytestmark = [pytest.mark.consul, pytest.mark.slow]

PROXIES = 5
WATCHED = seconds(20, 65)
"""How long nobody doubts: at most a look at each token."""


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def cluster(consul_bin: Path, issuer: Issuer) -> Iterator[ConsulCluster]:
    """Three servers whose logins' tokens never expire."""
    with ConsulCluster(consul_bin, acl=True) as cluster:
        issuer.install(cluster, "0s")
        yield cluster


class CountingCalls(ServerCalls):
    """Counts the questions whether a token is known."""

    looks = 0

    async def accepts(self, server: Server, token: str) -> bool:
        self.looks += 1
        return await super().accepts(server, token)


class Host:
    """A keeper at work."""

    def __init__(self, cluster: ConsulCluster, directory: Path) -> None:
        servers = [Server.at(each, GRPC_PORT) for each in cluster.addresses]
        self.calls = CountingCalls(lambda: servers, insecure_channel)
        acl = ConsulAcl(self.calls, cluster.http_addresses)
        self.tokens = Tokens(acl, directory)

    async def secret(self, key: str, but: str = "") -> str:
        async with asyncio.timeout(20):
            return await self.tokens.secret(key, but)


@asynccontextmanager
async def serving(cluster: ConsulCluster, directory: Path) -> AsyncIterator[Host]:
    host = Host(cluster, directory)
    try:
        async with host.tokens.kept():
            yield host
    finally:
        await host.calls.aclose()


def proxies(issuer: Issuer, number: int) -> list[Proxy]:
    return [
        Proxy(
            f"web-{n}",
            "host1-virtual",
            credentials=Credentials(login=Login(METHOD, issuer.jwt(f"web-{n}"))),
        )
        for n in range(number)
    ]


def made(issuer: Issuer, cluster: ConsulCluster) -> set[str]:
    return {each["AccessorID"] for each in issuer.tokens(cluster)}


async def test_fault_95_tokens_without_a_ttl_are_hardly_asked_about(
    cluster: ConsulCluster, issuer: Issuer, tmp_path: Path
) -> None:
    """A look at each in a minute; doubted all the time, one a second for all."""
    async with serving(cluster, tmp_path) as host:
        host.tokens.want(proxies(issuer, PROXIES))
        for n in range(PROXIES):
            await host.secret(f"web-{n}")
        file = json.loads((tmp_path / "tokens.json").read_text())["content"]
        assert {each["lifetime"] for each in file["sessions"].values()} == {0.0}
        host.calls.looks = 0
        await asyncio.sleep(WATCHED)
        assert host.calls.looks <= PROXIES * (1 + WATCHED // 60)
        host.calls.looks = 0
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for n in range(PROXIES):
                host.tokens.doubt(f"web-{n}")
            await asyncio.sleep(0.2)
        assert 5 <= host.calls.looks <= 14
        assert len(issuer.tokens(cluster)) == PROXIES


async def test_fault_94_a_deleted_token_is_replaced_once(
    cluster: ConsulCluster, issuer: Issuer, tmp_path: Path
) -> None:
    """Ten seconds after its login; no further login for as long as one looks."""
    before = made(issuer, cluster)
    async with serving(cluster, tmp_path) as host:
        host.tokens.want(proxies(issuer, 1))
        first = await host.secret("web-0")
        await asyncio.sleep(10)
        (accessor,) = made(issuer, cluster) - before
        cluster.call("DELETE", f"/v1/acl/token/{accessor}")
        host.tokens.doubt("web-0")
        second = await host.secret("web-0", but=first)
        (one,) = made(issuer, cluster) - before
        await asyncio.sleep(seconds(10, 40))
        assert await host.secret("web-0") == second
        assert made(issuer, cluster) - before == {one}
