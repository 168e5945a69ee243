"""A server and an agent that answer garbage, beside real ones, and a real Envoy."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.lab.answering import serving
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.mesh import Mesh

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(300),
]

BODIES = [
    b"[" + b",".join([b"0"] * 400_000) + b"]",
    b"[" * 4_000_000,
    b'{"a":' * 1200 + b"0" + b"}" * 1200,
    b'[{"Node": "\\ud800", "Address": "127.64.0.9", "ServiceMeta": []}]',
    b'{"Node": 1, "Services": "x"}',
    b"null",
    b"\xff\xfe\x00",
]


@contextmanager
def strangers(health: bytes) -> Iterator[tuple[str, str]]:
    """Serve garbage over gRPC and HTTP; give `address:port` and a URL."""
    loop = asyncio.new_event_loop()
    ready: list[tuple[str, str]] = []
    begun, over = threading.Event(), asyncio.Event()
    bodies = iter(BODIES * 1000)

    async def handler(_: web.Request) -> web.StreamResponse:
        headers = {"X-Consul-Index": "9" * 5000}
        return web.Response(body=next(bodies), headers=headers)

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with serving(health) as server:
            ready.append(
                (server.endpoint, f"http://127.0.0.1:{runner.addresses[0][1]}")
            )
            begun.set()
            await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert begun.wait(10)
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize("health", [b"\x08\x63", b"\xff\xff\xff"])
def test_fault_114_garbage_beside_real_servers(
    consul_bin: Path, envoy_bin: Path, health: bytes
) -> None:
    """The garbage's server is failing, the Envoy is served, and nothing ends."""
    with ConsulCluster(consul_bin, size=1) as cluster, strangers(health) as strange:
        endpoint, url = strange
        config: dict[str, Any] = {
            "consul": {
                "source": "static",
                "addresses": [f"{cluster.addresses[0]}:{GRPC_PORT}", endpoint],
                "http_addresses": [url, *cluster.http_addresses],
                "tls": {"disabled": True},
            },
            "workloads": {"catalog_nodes": ["host1-virtual"]},
        }
        with Mesh(cluster, envoy_bin, proxies=1, config=config) as mesh:
            mesh.start_envoys(30)
            time.sleep(8)
            status = mesh.controller.status()
            states = {
                f"{each['address']}:{each['port']}": each["state"]
                for each in status["servers"]
            }
            assert "failing" == states[endpoint]
            assert "ready" == states[cluster.grpc_endpoints[0]]
            assert "Traceback" not in mesh.controller.log()
            assert status["controller"]["running"]
            mesh.wait_connected(since=time.monotonic(), timeout=5)
