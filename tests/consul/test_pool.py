"""The pool on a real cluster: what it sees of servers that hang, die and return."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_ebpf.model.values import ServerState
from consul_ebpf.servers.pool import ServerPool
from consul_ebpf.servers.probe import GrpcProbe
from consul_ebpf.servers.sources.catalog import CatalogSource
from tests.lab.consul import ConsulCluster

pytestmark = pytest.mark.consul

READY, FAILING = ServerState.READY, ServerState.FAILING


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin) as cluster:
        yield cluster


def new_pool(cluster: ConsulCluster) -> ServerPool:
    return ServerPool(CatalogSource(cluster.http_addresses), GrpcProbe())


async def until(
    pool: ServerPool, cluster: ConsulCluster, *states: ServerState
) -> float:
    """Return how many seconds it took until the servers were in these states."""
    begun = time.monotonic()
    wanted = dict(zip(cluster.grpc_endpoints, states, strict=True))
    async with asyncio.timeout(60):
        async for servers in pool:
            if wanted == {p.server.endpoint: p.state for p in servers}:
                return time.monotonic() - begun
    raise AssertionError


async def test_all_are_ready_within_seconds(cluster: ConsulCluster) -> None:
    """Consul serves no grpc.health.v1: the features call answers."""
    assert await until(new_pool(cluster), cluster, READY, READY, READY) < 3


async def test_fault_08_a_hung_server_is_failing_and_comes_back(
    cluster: ConsulCluster,
) -> None:
    """Stopped, it still accepts connections."""
    async with new_pool(cluster) as pool:
        await until(pool, cluster, READY, READY, READY)
        cluster.freeze(1)
        try:
            assert await until(pool, cluster, READY, FAILING, READY) < 6
        finally:
            cluster.thaw(1)
        assert await until(pool, cluster, READY, READY, READY) < 6


async def test_fault_01_a_killed_server_is_failing_and_comes_back(
    cluster: ConsulCluster,
) -> None:
    """Though it was the one whose catalog was watched."""
    async with new_pool(cluster) as pool:
        await until(pool, cluster, READY, READY, READY)
        cluster.kill(0)
        assert await until(pool, cluster, FAILING, READY, READY) < 4
        cluster.restart(0)  # in the main thread: its end would end the server
        assert await until(pool, cluster, READY, READY, READY) < 6


async def test_fault_12_with_all_servers_dead_nothing_changes(
    cluster: ConsulCluster,
) -> None:
    """The last known states stay, and it goes on when they are back."""
    async with new_pool(cluster) as pool:
        await until(pool, cluster, READY, READY, READY)
        for i in range(3):
            cluster.kill(i)
        await asyncio.sleep(6)
        assert {READY} == {pooled.state for pooled in pool.servers}
        assert 3 == len(pool.servers)


async def test_fault_11_without_a_quorum_the_survivor_goes_on(consul_bin: Path) -> None:
    """Two of three dead: the list stays, probes decide, the one that is left serves."""
    with ConsulCluster(consul_bin) as cluster:
        async with new_pool(cluster) as pool:
            await until(pool, cluster, READY, READY, READY)
            cluster.kill(0)
            cluster.kill(1)
            assert await until(pool, cluster, FAILING, FAILING, READY) < 6
            await asyncio.sleep(5)  # no leader: Consul answers 500, and no list
            assert {p.server.endpoint for p in pool.servers} == set(
                cluster.grpc_endpoints
            )
            assert [p.dead for p in pool.servers].count(True) == 2
