"""Starts and stops at bad moments: Consul away, all new, the controller asleep."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.kernel.pins import Pins
from tests.kernel.conftest import Kernel, connect
from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.live import forwarder, live_server
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

pytestmark = pytest.mark.kernel

WEB = {"id": "web-1-sidecar-proxy", "node": "h", "vip": "127.64.0.1"}


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        yield Kernel(cgroup, bpffs)


def configuration(kernel: Kernel, **consul: Any) -> dict[str, Any]:
    return {
        "consul": {"tls": {"disabled": True}, **consul},
        "kernel": {"cgroup": str(kernel.cgroup), "bpffs": str(kernel.bpffs)},
        "proxies": [WEB],
    }


def static(kernel: Kernel, *servers: str) -> dict[str, Any]:
    return configuration(kernel, source="static", addresses=list(servers))


def states(controller: ControllerProcess) -> dict[str, str]:
    return {
        f"{row['address']}:{row['port']}": row["state"]
        for row in controller.status()["servers"]
    }


def peer(kernel: Kernel) -> str:
    address, port = kernel.call(connect)
    return f"{address}:{port}"


@pytest.mark.consul
def test_fault_43_after_a_reboot_the_last_known_servers_serve(
    consul_bin: Path, kernel: Kernel
) -> None:
    """No pins, no Consul to ask: ready in seconds, and their health is followed."""
    front = ("127.0.19.1", 8500)
    with ConsulCluster(consul_bin) as cluster, ExitStack() as stack:
        to = f"{cluster.addresses[0]}:8500"
        config = configuration(kernel, http_addresses=[f"http://{front[0]}:{front[1]}"])
        consul = stack.enter_context(ExitStack())
        consul.enter_context(forwarder(*front, to))
        with ControllerProcess(config) as controller:
            ready = dict.fromkeys(cluster.grpc_endpoints, "ready")
            wait_until(lambda: states(controller) == ready, "all servers ready")
            assert controller.terminate() == 0
            controller.detach()
            assert not Pins(kernel.bpffs).root.exists()
            consul.close()

            begun = time.monotonic()
            controller.start(timeout=15)
            print(f"ready after {time.monotonic() - begun:.1f} s without Consul")
            assert states(controller) == ready
            assert peer(kernel) in cluster.grpc_endpoints
            assert "3 servers, last changed" in controller.child.last_words(1000)
            cluster.kill(2)
            expected = {**ready, cluster.grpc_endpoints[2]: "failing"}
            wait_until(lambda: states(controller) == expected, "a death noticed", 15)

            consul.enter_context(forwarder(*front, to))
            cluster.restart(2)
            wait_until(lambda: states(controller) == ready, "all ready again", 30)


def test_fault_65_another_clusters_file_serves_nobody(
    kernel: Kernel, tmp_path: Path
) -> None:
    """Another configuration's servers are ignored with a word, and replaced."""
    directory = {"state": {"directory": str(tmp_path)}}
    with live_server("127.0.19.2") as one, live_server("127.0.19.3") as two:
        with ControllerProcess({**static(kernel, one), **directory}) as controller:
            controller.terminate()
            controller.detach()
        assert one.split(":")[0] in (tmp_path / "servers.json").read_text()
        with ControllerProcess({**static(kernel, two), **directory}) as controller:
            assert states(controller) == {two: "ready"}
            words = controller.child.last_words(1000)
            assert "is of another [consul] configuration" in words
        assert one.split(":")[0] not in (tmp_path / "servers.json").read_text()


def test_fault_14_all_servers_replaced_while_the_controller_was_down(
    kernel: Kernel,
) -> None:
    """The known ones are all dead: the list's take their place."""
    with live_server("127.0.19.5") as new:
        with live_server("127.0.19.4") as old:
            config = static(kernel, old, new)
            with ControllerProcess(config) as controller:
                both = {old: "ready", new: "ready"}
                wait_until(lambda: states(controller) == both, "both ready")
        with ControllerProcess(static(kernel, new)) as controller:

            def moved() -> bool:
                return states(controller).get(new) == "ready" and peer(kernel) == new

            wait_until(moved, "the new server in use", 15)
            wait_until(lambda: states(controller) == {new: "ready"}, "the old gone", 60)


def test_fault_42_a_controller_that_slept_sees_what_it_missed(
    kernel: Kernel, tmp_path: Path
) -> None:
    """Stopped, redirecting goes on; awake, it follows what changed meanwhile."""
    drop_in = tmp_path / "proxies.d"
    drop_in.mkdir()
    with live_server("127.0.19.6") as stays:
        config = {
            **static(kernel, stays, "127.0.19.7:9"),
            "workloads": {"directory": str(drop_in)},
        }
        with ControllerProcess(config) as controller:
            controller.child.freeze()
            (drop_in / "more.toml").write_text(
                '[[proxies]]\nid = "more"\nnode = "h"\nvip = "127.64.0.9"\n'
            )
            with live_server("127.0.19.7", 9):
                assert peer(kernel) == stays
                time.sleep(3)
                controller.child.thaw()
                both = {stays: "ready", "127.0.19.7:9": "ready"}
                wait_until(lambda: states(controller) == both, "the other server", 15)

                def served() -> bool:
                    return (controller.bootstraps / "more" / "bootstrap.json").exists()

                wait_until(served, "the new proxy's bootstrap", 10)


def test_fault_69_a_proxy_registered_without_a_controller_is_served_later(
    kernel: Kernel, tmp_path: Path
) -> None:
    """Its VIP fails locally until then."""
    drop_in = tmp_path / "proxies.d"
    drop_in.mkdir()
    with live_server("127.0.19.8") as server:
        config = {**static(kernel, server), "workloads": {"directory": str(drop_in)}}
        with ControllerProcess(config) as controller:
            controller.kill()
            (drop_in / "more.toml").write_text(
                '[[proxies]]\nid = "more"\nnode = "h"\nvip = "127.64.0.9"\n'
            )
            with pytest.raises(PermissionError):
                kernel.call(lambda: connect("127.64.0.9"))
            controller.start()
            bootstrap = json.loads(controller.bootstrap("more").read_text())
            assert bootstrap["node"]["id"] == "more"
            host, port = kernel.call(lambda: connect("127.64.0.9"))
            assert f"{host}:{port}" == server


@pytest.mark.parametrize(("delay", "state"), [(0.1, "ready"), (5.0, "failing")])
def test_fault_09_a_slow_server_is_one_that_answers_in_time(
    kernel: Kernel, delay: float, state: str
) -> None:
    """Within probe.timeout it stays; later than that, it is like a hung one."""
    with (
        live_server("127.0.19.9") as fast,
        live_server("127.0.19.10") as behind,
        forwarder("127.0.19.11", 8502, behind, delay),
        ControllerProcess(static(kernel, fast, "127.0.19.11:8502")) as controller,
    ):
        time.sleep(4)
        assert states(controller) == {fast: "ready", "127.0.19.11:8502": state}
