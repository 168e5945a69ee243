"""The servers by WatchServers, and behind a load balancer, from a real cluster."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import aclosing
from pathlib import Path

import dns.asyncresolver
import pytest

from consul_ebpf import Server, ServerPool, ServerState
from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.client.token import StaticToken
from consul_ebpf.config.seeds import Name
from consul_ebpf.model.errors import TokenPendingError
from consul_ebpf.servers.probe import GrpcProbe
from consul_ebpf.servers.sources import dns as ours
from consul_ebpf.servers.sources.names import Resolver, ResolvingSource
from consul_ebpf.servers.sources.static import StaticSource
from consul_ebpf.servers.sources.union import Found
from consul_ebpf.servers.sources.watch import WatchSource
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.live import balancer

pytestmark = pytest.mark.consul


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin) as cluster:
        yield cluster


def watch(*seeds: str, **more: object) -> WatchSource:
    resolver = Resolver(seeds, GRPC_PORT, 60)
    return WatchSource(resolver, insecure_channel, **more)  # type: ignore[arg-type]


async def until(
    watching: AsyncGenerator[tuple[Server, ...], None],
    endpoints: list[str],
    seconds: float = 60,
) -> tuple[Server, ...]:
    async with asyncio.timeout(seconds):
        async for servers in watching:
            listed = all(36 == len(each.id) for each in servers)
            if listed and sorted(endpoints) == sorted(s.endpoint for s in servers):
                return servers
    raise AssertionError


async def test_one_seed_names_all_servers(cluster: ConsulCluster) -> None:
    """With Consul's ids and versions."""
    async with aclosing(watch(cluster.addresses[1]).watch()) as watching:
        servers = await until(watching, cluster.grpc_endpoints)
    assert {cluster.version} == {server.version for server in servers}


async def test_the_next_server_is_asked_when_one_dies(cluster: ConsulCluster) -> None:
    """And a seed where nobody listens is no harm."""
    source = watch("127.0.0.1:1", cluster.addresses[2])
    async with aclosing(source.watch()) as watching:
        await until(watching, cluster.grpc_endpoints)
        cluster.kill(2)
        try:
            await until(watching, cluster.grpc_endpoints[:2])
        finally:
            cluster.restart(2)
        await until(watching, cluster.grpc_endpoints)


async def test_seeds_are_resolved_again_when_all_known_are_gone(
    consul_bin: Path,
) -> None:
    """The servers moved: their name has another address now."""
    with (
        ConsulCluster(consul_bin, size=1) as old,
        ConsulCluster(consul_bin, size=1) as new,
    ):
        now = old.addresses[0]

        async def look_up(name: Name, refresh: float) -> Found:
            return Found((Server.at(now, name.port),), refresh)

        resolver = Resolver(["consul.example"], GRPC_PORT, 60, look_up)
        source = WatchSource(resolver, insecure_channel)
        async with aclosing(source.watch()) as watching:
            await until(watching, old.grpc_endpoints)
            now = new.addresses[0]
            old.kill(0)
            await until(watching, new.grpc_endpoints, 20)


async def test_fault_19_acls_and_a_login_that_is_to_come(consul_bin: Path) -> None:
    """The seeds serve until there is a token; without one nothing is emptied."""
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        token: list[str] = []

        def pending() -> str:
            if not token:
                raise TokenPendingError("not yet")
            return token[0]

        source = watch(cluster.addresses[0], token=pending)
        async with aclosing(source.watch()) as watching:
            (seed,) = await anext(watching)
            assert seed.endpoint == seed.id == cluster.grpc_endpoints[0]
            token.append(cluster.management_token)
            await until(watching, cluster.grpc_endpoints)
        async with aclosing(watch(cluster.addresses[0]).watch()) as watching:
            assert (seed,) == await anext(watching)
        good = StaticToken(cluster.management_token)
        async with aclosing(watch(cluster.addresses[0], token=good).watch()) as one:
            await until(one, cluster.grpc_endpoints)


async def test_fault_57_dns_by_consuls_own_server(
    consul_bin: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A and SRV records with their TTL; a server that is gone changes nothing."""
    config = {"dns_config": {"service_ttl": {"*": "2s"}, "node_ttl": "2s"}}
    with ConsulCluster(consul_bin, config=config) as cluster:

        def resolver() -> ours.Resolve:
            made = dns.asyncresolver.Resolver(configure=False)
            made.nameservers = list(cluster.addresses)
            made.port, made.lifetime = 8600, 2
            return ours.asking(made)

        def look_up(name: Name, refresh: float) -> Awaitable[Found]:
            return ours.look_up(name, refresh, resolver)

        by_a: tuple[Server, ...] = ()
        async with asyncio.timeout(20):  # the last one may not be registered yet
            while sorted(cluster.grpc_endpoints) != sorted(s.endpoint for s in by_a):
                by_a, ttl, *_ = await ours.look_up(
                    Name("consul.service.consul", GRPC_PORT), 60, resolver
                )
        assert 1 <= ttl <= 2
        by_srv, *_ = await ours.look_up(
            Name("_consul._tcp.service.consul", GRPC_PORT), 60, resolver
        )
        assert {8300} == {server.port for server in by_srv}
        resolve = Resolver(["consul.service.consul"], GRPC_PORT, 60, look_up)
        async with aclosing(ResolvingSource(resolve).watch()) as watching:
            assert 3 == len(await anext(watching))
            await asyncio.to_thread(cluster.leave, 2)
            async with asyncio.timeout(30):
                assert 2 == len(await anext(watching))
            for i in (0, 1):
                cluster.kill(i)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(6):
                    await anext(watching)
    assert "DNS name consul.service.consul: " in caplog.text


def test_servers_behind_a_load_balancer(cluster: ConsulCluster) -> None:
    """One address that leads to whoever is alive stays ready when a server dies."""

    async def see(port: int) -> None:
        source = StaticSource([f"127.0.0.1:{port}"])
        async with ServerPool(source, GrpcProbe(timeout=2)) as pool:
            async with asyncio.timeout(10):
                while not pool.servers:
                    await asyncio.sleep(0.1)
            cluster.kill(0)
            for _ in range(60):
                await asyncio.sleep(0.1)
                (only,) = pool.servers
                assert only.state is ServerState.READY

    with balancer(cluster.grpc_endpoints) as port:
        try:
            asyncio.run(see(port))
        finally:
            cluster.restart(0)
