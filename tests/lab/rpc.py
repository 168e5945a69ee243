"""Consul's gRPC calls, for tests that make one."""

from consul_ebpf import BootstrapParams, Proxy, Server
from consul_ebpf.client.calls import ServerCalls
from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.client.dataplane import bootstrap_params
from tests.lab.consul import GRPC_PORT, ConsulCluster


def calls_to(cluster: ConsulCluster) -> ServerCalls:
    """Return calls to all of a plaintext cluster's servers."""
    servers = [Server.at(address, GRPC_PORT) for address in cluster.addresses]
    return ServerCalls(lambda: servers, insecure_channel)


async def params_of(
    cluster: ConsulCluster, proxy: Proxy, token: str = ""
) -> BootstrapParams:
    """Ask for a proxy's parameters."""
    calls = calls_to(cluster)
    try:
        found = await bootstrap_params(calls, proxy, token)
    finally:
        await calls.aclose()
    assert found is not None
    return found
