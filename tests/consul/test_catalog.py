"""The servers as a real cluster's catalog has them."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from consul_ebpf.client.token import StaticToken
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources.catalog import CatalogSource
from tests.lab.consul import ConsulCluster

pytestmark = pytest.mark.consul


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin) as cluster:
        yield cluster


async def until(
    watching: AsyncGenerator[tuple[Server, ...], None], endpoints: list[str]
) -> tuple[Server, ...]:
    async with asyncio.timeout(60):
        async for servers in watching:
            if sorted(endpoints) == sorted(s.endpoint for s in servers):
                return servers
    raise AssertionError


async def test_all_servers_are_found_with_their_grpc_ports(
    cluster: ConsulCluster,
) -> None:
    """Address from the node, port and version from the service's metadata."""
    async with aclosing(CatalogSource(cluster.http_addresses).watch()) as watching:
        servers = await until(watching, cluster.grpc_endpoints)
    assert {cluster.version} == {server.version for server in servers}
    assert 3 == len({server.id for server in servers})
    assert all(36 == len(server.id) for server in servers)  # Consul's node ID
    assert all(server.name for server in servers)


async def test_fault_03_a_server_that_leaves_goes_from_the_list_and_comes_back(
    cluster: ConsulCluster,
) -> None:
    """A blocking query says so, from an agent that stays."""
    source = CatalogSource(cluster.http_addresses[:1])
    async with aclosing(source.watch()) as watching:
        await until(watching, cluster.grpc_endpoints)
        await asyncio.to_thread(cluster.leave, 2)
        await until(watching, cluster.grpc_endpoints[:2])
        cluster.restart(2)
        await until(watching, cluster.grpc_endpoints)


async def test_the_next_address_is_asked_when_one_dies(cluster: ConsulCluster) -> None:
    """In the middle of a blocking query; also nobody may be listening there."""
    addresses = ["127.0.0.1:1", cluster.http_addresses[1], cluster.http_addresses[0]]
    async with aclosing(CatalogSource(addresses).watch()) as watching:
        before = await until(watching, cluster.grpc_endpoints)
        cluster.kill(1)
        try:
            async with asyncio.timeout(5):
                assert before == await anext(watching)
        finally:
            cluster.restart(1)


async def test_fault_18_without_a_token_acls_hide_all_servers(consul_bin: Path) -> None:
    """200 and an empty list, which the pool must survive."""
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        async with aclosing(CatalogSource(cluster.http_addresses).watch()) as watching:
            assert () == await anext(watching)
        token = StaticToken(cluster.management_token)
        source = CatalogSource(cluster.http_addresses, token=token)
        async with aclosing(source.watch()) as watching:
            await until(watching, cluster.grpc_endpoints)
