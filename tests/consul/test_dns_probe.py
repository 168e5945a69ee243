"""The probe of DNS on real Consul servers, of every configuration that changes DNS."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.dns.probe import DnsProbe
from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import Server, ServerState, Service
from consul_ebpf.servers.pool import ServerPool
from consul_ebpf.servers.probe import GrpcProbe
from consul_ebpf.servers.sources.static import StaticSource
from tests.lab.consul import GRPC_PORT, ConsulCluster

pytestmark = pytest.mark.consul

DNS = Service("dns", 8600)
OTHER_GRPC_PORT = 8504


async def probed(cluster: ConsulCluster, domain: str = "consul") -> Health:
    server = Server.at(cluster.addresses[0], GRPC_PORT)
    return await DnsProbe(DNS, domain).check(server)


async def grpc_probed(cluster: ConsulCluster) -> Health:
    probe = GrpcProbe()
    try:
        return await probe.check(Server.at(cluster.addresses[0], GRPC_PORT))
    finally:
        await probe.aclose()


def one(consul: Path, **more: Any) -> ConsulCluster:
    return ConsulCluster(consul, size=1, **more)


@pytest.fixture(scope="module")
def other_grpc_port(consul_bin: Path) -> Iterator[ConsulCluster]:
    """A server whose DNS is as ever, and nobody is at the usual gRPC port."""
    config = {"ports": {"grpc": OTHER_GRPC_PORT}}
    cluster = one(consul_bin, config=config)
    cluster.grpc_port = OTHER_GRPC_PORT
    with cluster:
        yield cluster


@pytest.fixture(scope="module")
def no_dns(consul_bin: Path) -> Iterator[ConsulCluster]:
    config = {"ports": {"grpc": GRPC_PORT, "dns": -1}}
    with one(consul_bin, config=config) as cluster:
        yield cluster


async def test_fault_148_dns_alone_is_looked_at(other_grpc_port: ConsulCluster) -> None:
    """Whatever its gRPC port does."""
    said = Health(alive=True, reason="NOERROR for consul.service.consul.")
    assert said == await probed(other_grpc_port)
    assert not (await grpc_probed(other_grpc_port)).alive


async def test_fault_149_a_server_without_a_dns_port(no_dns: ConsulCluster) -> None:
    """`ports.dns = -1`; it is as good for xDS as any."""
    said = Health(alive=False, reason="Connection refused", sure=True)
    assert said == await probed(no_dns)
    assert (await grpc_probed(no_dns)).alive


async def test_fault_148_each_pool_uses_the_servers_that_are_good_for_it(
    other_grpc_port: ConsulCluster, no_dns: ConsulCluster
) -> None:
    """Of the same list."""
    a, b = other_grpc_port.addresses[0], no_dns.addresses[0]
    grpc = ServerPool(StaticSource([a, b], GRPC_PORT), GrpcProbe())
    names = ServerPool(grpc, DnsProbe(DNS, "consul"), service=DNS)
    found: list[dict[str, str]] = []
    async with asyncio.timeout(10):
        for pool in (grpc, names):
            async for servers in pool:
                found.append({str(s.server.address): s.state.value for s in servers})
                break
    ready, failing = ServerState.READY.value, ServerState.FAILING.value
    assert [{a: failing, b: ready}, {a: ready, b: failing}] == found


async def test_a_frozen_server_does_not_answer(other_grpc_port: ConsulCluster) -> None:
    """Within the deadline; it answers again as soon as it goes on."""
    other_grpc_port.freeze(0)
    try:
        begun = time.monotonic()
        verdict = await probed(other_grpc_port)
        assert Health(alive=False, reason="no answer in 1 s") == verdict
        assert time.monotonic() - begun < 1.5
    finally:
        other_grpc_port.thaw(0)
    async with asyncio.timeout(5):
        while not (await probed(other_grpc_port)).alive:
            await asyncio.sleep(0.2)


async def test_fault_148_acls_hide_everything(consul_bin: Path) -> None:
    """The anonymous token may read nothing, and the server is well."""
    with one(consul_bin, acl=True) as cluster:
        verdict = await probed(cluster)
    assert Health(alive=True, reason="NXDOMAIN for consul.service.consul.") == verdict


@pytest.mark.parametrize("recursors", [[], ["nobody"]])
async def test_fault_148_servers_of_another_domain(
    consul_bin: Path, recursors: list[str]
) -> None:
    """Well by each name they have, and without recursors by any other, too."""
    domains = {"domain": "corp.example", "alt_domain": "alt.example"}
    asked = [f"{recursor}:53" for recursor in ["127.0.0.1"][: len(recursors)]]
    config: dict[str, Any] = {**domains, "recursors": asked}
    with one(consul_bin, config=config) as cluster:
        for domain in domains.values():
            assert (await probed(cluster, domain)).alive
        verdict = await probed(cluster)
    if not recursors:
        said = "REFUSED for consul.service.consul."
        assert Health(alive=True, reason=said) == verdict
    else:  # the one case in which consul.domain has to be right
        assert not verdict.alive


@pytest.mark.parametrize("stale", [True, False])
async def test_fault_148_servers_without_a_leader(
    consul_bin: Path, stale: bool
) -> None:
    """What they remember is good enough, unless they were told otherwise."""
    config = {"dns_config": {"allow_stale": stale}}
    with ExitStack() as stack:
        cluster = stack.enter_context(ConsulCluster(consul_bin, config=config))
        assert (await probed(cluster)).alive
        cluster.kill(1)
        cluster.kill(2)
        await asyncio.sleep(10)
        verdict = await probed(cluster)
    assert stale is verdict.alive, verdict.reason
