"""The whole controller as a node plugin, called as kubelet does; without a cluster."""

import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.config.kubernetes import csi_socket, registration_socket
from consul_ebpf.config.schema import Kubernetes
from consul_ebpf.kubernetes.volume import Publish
from consul_ebpf.testing import FakeKubelet, FakePod
from tests.lab import endpoint
from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.envoy import EnvoyProcess
from tests.lab.kubelet_calls import Kubelet
from tests.lab.processes import wait_until
from tests.lab.scratch import (
    cgroup2_mount,
    remove_cgroup,
    scratch_bpffs,
    scratch_cgroup,
)

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy]

NODE = "n1"


@dataclass
class Served:
    """A node with its controller."""

    controller: ControllerProcess
    kubelet: FakeKubelet
    sockets: Kubernetes
    cluster: ConsulCluster
    config: dict[str, Any]

    def call(self, publish: Publish) -> None:
        asyncio.run(self._publish(publish))

    async def _publish(self, publish: Publish) -> None:
        async with Kubelet(Path(csi_socket(self.sockets))) as kubelet:
            await kubelet.publish(
                publish.volume_id,
                publish.target_path,
                publish.context,
                publish.secrets,
            )

    def unpublish(self, pod: FakePod) -> None:
        async def call() -> None:
            async with Kubelet(Path(csi_socket(self.sockets))) as kubelet:
                await kubelet.unpublish(pod.volume_id(), str(pod.target()))

        asyncio.run(call())

    def notify(self, *, registered: bool) -> None:
        async def call() -> None:
            async with Kubelet(Path(registration_socket(self.sockets))) as kubelet:
                await kubelet.notify(registered=registered)

        asyncio.run(call())

    def register(self, pod: FakePod) -> str:
        proxy = f"{pod.name}-web-sidecar-proxy"
        meta = {
            "pod-name": pod.name,
            "k8s-namespace": pod.namespace,
            "pod-uid": pod.uid,
        }
        for service in (
            {"ID": f"{pod.name}-web", "Service": "web", "Port": 9090},
            {
                "Kind": "connect-proxy",
                "ID": proxy,
                "Service": "web-sidecar-proxy",
                "Port": 21999,
                "Proxy": {
                    "DestinationServiceName": "web",
                    "DestinationServiceID": f"{pod.name}-web",
                    "Config": {"bind_address": self.cluster.addresses[0]},
                },
                "Meta": meta,
            },
        ):
            body = {
                "Node": f"{NODE}-virtual",
                "Address": self.cluster.addresses[0],
                "Service": service,
            }
            self.cluster.call("PUT", "/v1/catalog/register", body)
        return proxy

    def ask(self, path: str) -> tuple[int, Any]:
        return endpoint.ask(self.controller.bootstraps / "api.sock", "GET", path, None)

    def volume(self) -> dict[str, Any]:
        (volume,) = self.controller.status()["kubernetes"]["volumes"]
        assert isinstance(volume, dict)
        return volume


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1) as cluster:
        yield cluster


@pytest.fixture(params=["tmpfs", "directory"])
def node(cluster: ConsulCluster, request: pytest.FixtureRequest) -> Iterator[Served]:
    top = cgroup2_mount()
    assert top is not None
    with (
        scratch_bpffs() as bpffs,
        scratch_cgroup() as cgroup,
        tempfile.TemporaryDirectory(prefix="k", dir="/tmp") as directory,
    ):
        kubelet = FakeKubelet(Path(directory) / "k", cgroup)
        kubernetes = {
            "enabled": True,
            "node_name": NODE,
            "kubelet_directory": str(kubelet.directory),
            "cgroup_root": str(cgroup.relative_to(top)),
            "volumes": request.param,
            "driver": "csi.test",
        }
        config = {
            "consul": {
                "http_addresses": cluster.http_addresses,
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
            "kubernetes": kubernetes,
        }
        try:
            with ControllerProcess(config) as controller:
                yield Served(
                    controller, kubelet, Kubernetes(**kubernetes), cluster, config
                )
        finally:
            for target in kubelet.directory.glob("pods/*/volumes/*/*/mount"):
                subprocess.run(["umount", "-l", target], check=False)
            for path in sorted(cgroup.rglob("*/"), reverse=True):
                if path.is_dir():
                    remove_cgroup(path)


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
