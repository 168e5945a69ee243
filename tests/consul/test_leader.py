"""A real server that is cut off from its peers, and not from us."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path

import pytest

from consul_ebpf import Server, ServerPool, ServerState
from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.client.token import StaticToken
from consul_ebpf.servers.pool import PoolSettings
from consul_ebpf.servers.probe import GrpcProbe
from consul_ebpf.servers.sources.catalog import CatalogSource
from consul_ebpf.servers.sources.names import Resolver
from consul_ebpf.servers.sources.static import StaticSource
from consul_ebpf.servers.sources.watch import WatchSource
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.power import cut_off
from tests.lab.scratch import scratch_cgroup

pytestmark = [
    pytest.mark.consul,
    pytest.mark.kernel,
    pytest.mark.timeout(300),
    pytest.mark.slow,
]

GRACE = 6.0


@pytest.fixture
def cgroups() -> Iterator[list[Path]]:
    with ExitStack() as stack:
        yield [stack.enter_context(scratch_cgroup()) for _ in range(3)]


@pytest.fixture
def cluster(consul_bin: Path, cgroups: list[Path]) -> Iterator[ConsulCluster]:
    """With ACLs: whether there is a leader is asked without a token.

    Each test has its own: autopilot removes a server that was cut off.
    """
    with ConsulCluster(consul_bin, acl=True, cgroups=cgroups) as cluster:
        yield cluster


def leader_of(cluster: ConsulCluster) -> int:
    leader = cluster.call("GET", "/v1/status/leader")
    return cluster.addresses.index(leader.rpartition(":")[0])


async def until(pool: ServerPool, endpoint: str, state: ServerState) -> None:
    """Wait until one server has a state; the others are ready all the time."""
    async with asyncio.timeout(60):
        async for servers in pool:
            found = {each.server.endpoint: each.state for each in servers}
            others = {found[key] for key in found if key != endpoint}
            assert others <= {ServerState.READY}
            if found.get(endpoint) is state:
                return


@pytest.mark.parametrize("was_leader", [False, True])
async def test_fault_116_a_server_without_a_leader_is_not_used(
    cluster: ConsulCluster,
    cgroups: list[Path],
    was_leader: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is failing while it is cut off; WatchServers and the catalog go elsewhere."""
    leader = await asyncio.to_thread(leader_of, cluster)
    lost = leader if was_leader else (leader + 1) % 3
    endpoint = cluster.grpc_endpoints[lost]
    token = StaticToken(cluster.management_token)
    order = [lost, (lost + 1) % 3, (lost + 2) % 3]
    seeds = [cluster.addresses[i] for i in order]
    urls = [cluster.http_addresses[i] for i in order]
    settings = PoolSettings(leader_grace=GRACE)
    source = StaticSource(list(cluster.addresses), GRPC_PORT)
    lists: list[tuple[Server, ...]] = []

    async def follow() -> None:
        watching = WatchSource(
            Resolver(seeds[:1], GRPC_PORT, 60),
            insecure_channel,
            token=token,
            leaderless=GRACE,
        ).watch()
        async with aclosing(watching):
            async for servers in watching:
                lists.append(servers)  # noqa: PERF401  # as they come

    async with ServerPool(source, GrpcProbe(), settings=settings) as pool:
        await until(pool, endpoint, ServerState.READY)
        following = asyncio.create_task(follow())
        await asyncio.sleep(2)
        with cut_off(cgroups[lost]):
            begun = time.monotonic()
            await until(pool, endpoint, ServerState.FAILING)
            print(f"failing after {time.monotonic() - begun:.1f} s, of them {GRACE:g}")
            catalog = CatalogSource(urls, token=token).watch()
            async with aclosing(catalog), asyncio.timeout(10):
                assert 2 <= len(await anext(catalog))
            assert f"Consul at {urls[0]}: it knows no leader" in caplog.text
            async with asyncio.timeout(20):
                while f"{endpoint} has no leader; asking another" not in caplog.text:
                    await asyncio.sleep(0.1)
        await until(pool, endpoint, ServerState.READY)
        following.cancel()
        await asyncio.wait([following])
    assert lists
