"""Servers that die without a word: their proxies' connections are cut, theirs alone.

Limits are the issue's: 6 s with the controller, 30 s by Envoy's keepalive without.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.mesh import Mesh
from tests.lab.power import powered_off
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_cgroup

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(600),
    pytest.mark.slow,
]

LIMIT = 6.0
KEEPALIVE = 30.0


@pytest.fixture
def cgroups() -> Iterator[list[Path]]:
    with ExitStack() as stack:
        yield [stack.enter_context(scratch_cgroup()) for _ in range(3)]


@pytest.fixture
def cluster(consul_bin: Path, cgroups: list[Path]) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, cgroups=cgroups) as cluster:
        for n in range(6):  # room on every server for those that move
            cluster.register_proxy(f"idle-{n}")
        yield cluster


def busiest(mesh: Mesh) -> int:
    return max(range(3), key=lambda i: len(mesh.on_server(i)))


def said(mesh: Mesh) -> str:
    return mesh.controller.child.stderr.read_text()


def test_fault_02_a_powered_off_server_costs_its_proxies_six_seconds(
    cluster: ConsulCluster, cgroups: list[Path], envoy_bin: Path
) -> None:
    """No packet comes back; a connection past the VIPs is left alone."""
    with Mesh(cluster, envoy_bin) as mesh:
        mesh.start_envoys()
        victim = busiest(mesh)
        bereft = mesh.on_server(victim)
        assert bereft
        untouched = {
            name: envoy.upstream_cx_total
            for name, envoy in mesh.envoys.items()
            if name not in bereft
        }
        with socket.create_connection((cluster.addresses[victim], GRPC_PORT)) as direct:
            with powered_off(cgroups[victim]):
                moved = mesh.wait_connected(
                    bereft, since=time.monotonic(), timeout=4 * LIMIT, but=victim
                )
                times = sorted(round(each.after, 2) for each in moved.values())
                print(f"{len(times)} proxies left a powered-off server: {times}")
                assert times[-1] <= LIMIT
                line = f"dead: {cluster.grpc_endpoints[victim]}; cut {len(bereft)} "
                wait_until(lambda: line in said(mesh), "the line that says so", 5)
                time.sleep(4)  # the second look
                assert direct.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            assert said(mesh).count("; cut ") == 1
            assert untouched == {
                name: mesh.envoys[name].upstream_cx_total for name in untouched
            }
        endpoint = cluster.grpc_endpoints[victim]

        def ready() -> bool:
            return any(
                f"{s['address']}:{s['port']}" == endpoint and s["state"] == "ready"
                for s in mesh.controller.status()["servers"]
            )

        wait_until(ready, "the server with its power back", 20)


def test_fault_08_a_hung_server_costs_its_proxies_six_seconds(
    cluster: ConsulCluster, envoy_bin: Path
) -> None:
    """Stopped, it still accepts; only an answer in gRPC counts."""
    with Mesh(cluster, envoy_bin) as mesh:
        mesh.start_envoys()
        victim = busiest(mesh)
        bereft = mesh.on_server(victim)
        cluster.freeze(victim)
        try:
            moved = mesh.wait_connected(
                bereft, since=time.monotonic(), timeout=4 * LIMIT, but=victim
            )
        finally:
            cluster.thaw(victim)
        times = sorted(round(each.after, 2) for each in moved.values())
        print(f"{len(times)} proxies left a hung server: {times}")
        assert times[-1] <= LIMIT


def test_fault_02_without_a_controller_keepalive_finds_a_dead_server(
    cluster: ConsulCluster, cgroups: list[Path], envoy_bin: Path
) -> None:
    """Or without cutting: Envoy itself, within 30 s."""
    with Mesh(cluster, envoy_bin) as mesh:
        mesh.start_envoys()
        mesh.controller.kill()
        victim = busiest(mesh)
        bereft = mesh.on_server(victim)
        with powered_off(cgroups[victim]):
            moved = mesh.wait_connected(
                bereft, since=time.monotonic(), timeout=2 * KEEPALIVE, but=victim
            )
        times = sorted(round(each.after, 2) for each in moved.values())
        print(f"{len(times)} proxies found out by themselves: {times}")
        assert times[-1] <= KEEPALIVE


def test_fault_05_a_filtered_port_costs_one_connect_timeout(
    cluster: ConsulCluster, cgroups: list[Path], envoy_bin: Path
) -> None:
    """SYNs to one server vanish, and no controller is there: all proxies start."""
    with Mesh(cluster, envoy_bin) as mesh:
        for proxy in (f"web-{n}-sidecar-proxy" for n in range(1, 7)):
            mesh.controller.bootstrap(proxy)
        mesh.controller.kill()
        with powered_off(cgroups[0]):
            started = mesh.start_envoys(timeout=10)
        times = sorted(round(each.after, 2) for each in started.values())
        print(f"6 proxies started with one of three servers filtered: {times}")
        assert cluster.grpc_endpoints[0] not in {e.server for e in started.values()}
        assert times[-1] < LIMIT
