"""A server that knows no call. Real gRPC, not Consul: none that we have lacks one."""

import asyncio
import logging
from contextlib import aclosing

import pytest

from consul_ebpf.client.calls import ServerCalls
from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.client.dataplane import bootstrap_params
from consul_ebpf.model.values import Proxy, Server
from consul_ebpf.servers.probe import GrpcProbe
from consul_ebpf.servers.sources.names import Resolver
from consul_ebpf.servers.sources.watch import WatchSource
from tests.lab.live import live_server


async def test_without_watch_servers_the_log_says_what_to_set(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, with the call's name; the configured addresses are the list."""
    with live_server("127.0.0.1") as address:
        host, _, port = address.rpartition(":")
        source = WatchSource(
            Resolver([host], int(port), 60), insecure_channel, grpc_port=int(port)
        )
        async with aclosing(source.watch()) as lists, asyncio.timeout(10):
            assert [address] == [each.endpoint for each in await anext(lists)]
    (said,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert said.getMessage().startswith(f"WatchServers: {address}: UNIMPLEMENTED")
    assert 'set consul.source = "catalog"' in said.getMessage()


async def test_without_its_other_calls_a_server_is_used() -> None:
    """Alive, though it cannot say who leads; bootstraps are made of defaults."""
    with live_server("127.0.0.1") as address:
        host, _, port = address.rpartition(":")
        server = Server.at(host, int(port))
        probe = GrpcProbe(timeout=10)
        calls = ServerCalls(lambda: [server], insecure_channel)
        try:
            health = await probe.check(server)
            params = await bootstrap_params(calls, Proxy("web", "host1"), "")
        finally:
            await probe.aclose()
            await calls.aclose()
    assert (health.alive, health.leader, params) == (True, None, None)
