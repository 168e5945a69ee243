"""A node with the whole controller as its node plugin, called as kubelet does."""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consul_ebpf.config.kubernetes import csi_socket, registration_socket
from consul_ebpf.config.schema import Kubernetes
from consul_ebpf.kubernetes.pods.volume import Publish
from consul_ebpf.testing import FakeKubelet, FakePod
from tests.lab import endpoint
from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.kubelet_calls import Kubelet
from tests.lab.scratch import (
    cgroup2_mount,
    remove_cgroup,
    scratch_bpffs,
    scratch_cgroup,
)

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

    async def publish_all(self, pods: Sequence[FakePod]) -> list[float]:
        """Publish a volume of each at once; return the seconds that each took."""
        async with Kubelet(Path(csi_socket(self.sockets))) as kubelet:

            async def publish(pod: FakePod) -> None:
                call = pod.publish({"version": "1", "mount": str(pod.target())})
                where = call.volume_id, call.target_path
                await kubelet.publish(*where, call.context, call.secrets)

            return await asyncio.gather(*(timed(publish(pod)) for pod in pods))

    async def unpublish_all(self, pods: Sequence[FakePod]) -> list[float]:
        """Unpublish them at once; return the seconds that each took."""
        async with Kubelet(Path(csi_socket(self.sockets))) as kubelet:

            async def unpublish(pod: FakePod) -> None:
                await kubelet.unpublish(pod.volume_id(), str(pod.target()))

            return await asyncio.gather(*(timed(unpublish(pod)) for pod in pods))

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


@contextmanager
def served_node(cluster: ConsulCluster, volumes: str) -> Iterator[Served]:
    """Start a controller that serves volumes: `tmpfs` or `directory`."""
    top = cgroup2_mount()
    assert top is not None
    with (
        scratch_bpffs() as bpffs,
        scratch_cgroup() as cgroup,
        tempfile.TemporaryDirectory(prefix="k", dir="/tmp") as directory,
    ):
        kubelet = FakeKubelet(Path(directory) / "k", cgroup)
        kubernetes: dict[str, Any] = {
            "enabled": True,
            "node_name": NODE,
            "kubelet_directory": str(kubelet.directory),
            "cgroup_root": str(cgroup.relative_to(top)),
            "volumes": volumes,
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


async def timed(call: Awaitable[None]) -> float:
    """Return how many seconds a call took."""
    begun = time.perf_counter()
    await call
    return time.perf_counter() - begun
