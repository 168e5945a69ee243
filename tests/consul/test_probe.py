"""The probe on a real Consul server."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import Server
from consul_ebpf.servers.probe import GrpcProbe
from tests.lab.consul import GRPC_PORT, HTTP_PORT, ConsulCluster

pytestmark = pytest.mark.consul


@pytest.fixture(scope="module", params=[False, True], ids=["open", "acl"])
def cluster(
    request: pytest.FixtureRequest, consul_bin: Path
) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1, acl=request.param) as cluster:
        yield cluster


async def probed(cluster: ConsulCluster, port: int = GRPC_PORT) -> Health:
    probe = GrpcProbe()
    try:
        return await probe.check(Server.at(cluster.addresses[0], port))
    finally:
        await probe.aclose()


async def test_a_consul_server_is_alive(cluster: ConsulCluster) -> None:
    """And knows who leads; with ACLs too, without a token."""
    assert Health(alive=True, reason="OK", leader=True) == await probed(cluster)


async def test_its_http_port_is_not_grpc(cluster: ConsulCluster) -> None:
    """A wrong port in the catalog is no live server."""
    assert not (await probed(cluster, HTTP_PORT)).alive


async def test_a_stopped_server_fails_within_the_deadline(
    cluster: ConsulCluster,
) -> None:
    """Connected before or not; it answers again as soon as it goes on."""
    server = Server.at(cluster.addresses[0], GRPC_PORT)
    connected, fresh = GrpcProbe(), GrpcProbe()
    await connected.check(server)
    cluster.freeze(0)
    try:
        for probe in (connected, fresh):
            begun = time.monotonic()
            verdict = await probe.check(server)
            assert not verdict.alive
            assert time.monotonic() - begun < 1.5
    finally:
        cluster.thaw(0)
    for probe in (connected, fresh):
        async with asyncio.timeout(5):
            while not (await probe.check(server)).alive:
                await asyncio.sleep(0.2)
        await probe.aclose()
