"""The whole controller as a node plugin, called as kubelet does; without a cluster."""

import asyncio
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from consul_ebpf.config.kubernetes import csi_socket, registration_socket
from tests.lab import endpoint
from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.envoy import EnvoyProcess
from tests.lab.node_plugin import Served, served_node
from tests.lab.processes import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy]


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1) as cluster:
        yield cluster


@pytest.fixture(params=["tmpfs", "directory"])
def node(cluster: ConsulCluster, request: pytest.FixtureRequest) -> Iterator[Served]:
    with served_node(cluster, request.param) as served:
        yield served


def test_a_pod_is_served_from_its_publish_to_its_end(
    node: Served, envoy_bin: Path
) -> None:
    """Through a kill of the controller; its Envoy is one of the pod's own cgroup."""
    ready = wait_until(lambda: node.ask("/v1/ready")[0] == 200, "ready", 10)
    assert ready
    pod = node.kubelet.pod("web-1", "shop")
    publish = pod.publish(
        {"version": "1", "mount": str(pod.target()), "uid": str(os.geteuid())}
    )
    node.call(publish)
    node.call(publish)
    (shown,) = node.controller.status()["proxies"]
    assert ["cgroup"] == shown["bound"]
    waiting = pod.target() / "waiting"
    wait_until(waiting.exists, "the file waiting", 5)
    assert "Consul has no registration of pod shop/web-1 yet\n" == waiting.read_text()
    volume = node.volume()
    assert ("shop/web-1", pod.key) == (volume["pod"], volume["proxy"])
    assert "Consul has no registration" in volume["problems"][0]

    proxy = node.register(pod)
    bootstrap = pod.target() / "bootstrap.json"
    wait_until(bootstrap.exists, "the bootstrap", 10)
    wait_until(lambda: not waiting.exists(), "nothing to wait for", 5)
    assert proxy == json.loads(bootstrap.read_text())["node"]["id"]

    data = json.loads(bootstrap.read_text())
    address = node.cluster.addresses[0]
    data["admin"]["address"]["socket_address"]["address"] = address
    with EnvoyProcess(envoy_bin, data, cgroup=pod.cgroup):
        wait_until(lambda: node.controller.status()["proxies"][0]["active"], "on", 10)
        node.controller.kill()
        node.controller.start()
        wait_until(lambda: node.ask("/v1/ready")[0] == 200, "ready again", 10)
        node.call(publish)
        (again,) = node.controller.status()["proxies"]
        assert (shown["vip"], True) == (again["vip"], again["active"])
        assert proxy == again["id"]
    node.notify(registered=True)
    status = node.ask("/v1/status")[1]["kubernetes"]
    assert (True, True, "") == (
        status["serving"],
        status["registered"],
        status["error"],
    )
    code, text = endpoint.ask(
        node.controller.bootstraps / "api.sock", "GET", "/metrics", None
    )
    assert code == 200
    assert "consul_ebpf_volumes 1.0" in text

    node.unpublish(pod)
    node.unpublish(pod)
    assert not pod.target().exists()
    wait_until(lambda: not node.controller.status()["proxies"], "no VIP", 5)
    assert [] == node.controller.status()["kubernetes"]["volumes"]
    assert 0 == node.controller.terminate()
    for path in (csi_socket(node.sockets), registration_socket(node.sockets)):
        assert not Path(path).exists()


@pytest.mark.parametrize("node", ["directory"], indirect=True)
def test_fault_k_a_second_controller_waits_for_the_first(node: Served) -> None:
    """As the next pod of a DaemonSet does; it serves what the first one served."""
    pod = node.kubelet.pod("web-1", "shop")
    publish = pod.publish({"version": "1", "mount": str(pod.target())})
    node.call(publish)
    (before,) = node.controller.status()["proxies"]
    directory = {"directory": str(node.controller.bootstraps)}
    second = ControllerProcess({**node.config, "bootstrap": directory})
    with ThreadPoolExecutor(1) as threads, ExitStack() as stack:
        stack.callback(node.controller.kill)
        entered = threads.submit(stack.enter_context, second)
        told = partial(_said_to_wait, second)
        wait_until(told, "the second one waits", 20)
        assert not entered.done()
        assert before == node.controller.status()["proxies"][0]
        assert 0 == node.controller.terminate()
        entered.result(timeout=30)
        wait_until(lambda: node.ask("/v1/ready")[0] == 200, "ready", 10)
        node.call(publish)
        (after,) = node.controller.status()["proxies"]
        assert before["vip"] == after["vip"]


def _said_to_wait(controller: ControllerProcess) -> bool:
    return hasattr(controller, "child") and "waiting up to 30 s" in controller.log()


@pytest.mark.parametrize("node", ["tmpfs"], indirect=True)
def test_many_pods_at_once_leave_nothing(node: Served) -> None:
    """Each has a VIP of its own meanwhile."""
    pods = [node.kubelet.pod(f"many-{n}") for n in range(50)]
    asyncio.run(node.publish_all(pods))
    shown = node.controller.status()["proxies"]
    assert len({each["vip"] for each in shown}) == len(pods)
    asyncio.run(node.unpublish_all(pods))
    assert not [pod for pod in pods if pod.target().exists()]
    wait_until(lambda: not node.controller.status()["proxies"], "no VIP", 10)
    assert [] == node.controller.status()["kubernetes"]["volumes"]
