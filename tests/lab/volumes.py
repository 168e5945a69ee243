"""A node's volumes with a runner among fakes, in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from consul_ebpf.base.latest import Latest
from consul_ebpf.kubernetes.pods.bearers import Bearers
from consul_ebpf.kubernetes.pods.cgroups import PodCgroups
from consul_ebpf.kubernetes.pods.gone import GonePods
from consul_ebpf.kubernetes.pods.join import Registration
from consul_ebpf.kubernetes.pods.kept import KeptVolumes
from consul_ebpf.kubernetes.pods.places import VolumePlaces
from consul_ebpf.kubernetes.pods.proxy import Node
from consul_ebpf.kubernetes.pods.volume import Publish
from consul_ebpf.kubernetes.pods.volumes import PodVolumes, Settings
from consul_ebpf.kubernetes.pods.waiting import WAITING, Waiting
from consul_ebpf.kubernetes.pods.workloads import VolumeWorkloads
from consul_ebpf.model.seams import WorkloadSource
from consul_ebpf.model.values import Proxy
from consul_ebpf.testing import FakeKubelet, FakeMounts, FakePod, MemoryMapBackend
from tests.lab.serving import Host

LOGIN = {"options": '{"credential-type": "login", "login-auth-method": "k8s"}'}
"""Attributes of a pod that logs in."""


class Unbound:
    """A `WorkloadSource` whose proxies' cgroups, plain directories, are left out."""

    def __init__(self, source: VolumeWorkloads) -> None:
        self._source = source

    @property
    def lacking(self) -> tuple[str, ...]:
        return self._source.lacking

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        async for proxies in self._source.watch():
            yield tuple(replace(proxy, cgroup="") for proxy in proxies)


class PodNode:
    """A node with its kubelet; each `serving` is another process of the controller."""

    def __init__(self, top: Path) -> None:
        self.state = top / "run"
        self.kubelet = FakeKubelet(top / "kubelet", top / "cgroup")
        self.mounts = FakeMounts()
        self.backend = MemoryMapBackend()
        self.registrations: Latest[tuple[Registration, ...]] = Latest()

    @asynccontextmanager
    async def serving(self, **more: Any) -> AsyncIterator["PodNode"]:
        wait = more.pop("wait", 8.0)
        bearers = Bearers(self.state)
        self.state.mkdir(exist_ok=True)
        kept = KeptVolumes(self.state)
        node = Node("n1-virtual", "n1", "10.0.0.9", bearers.directory)
        self.node = replace(node, has_credentials=more.pop("has_credentials", False))
        self.workloads = VolumeWorkloads(kept, self.registrations, self.node)
        source: WorkloadSource = Unbound(self.workloads)
        self.host = Host(self.state, workloads=source, backend=self.backend, **more)
        self.volumes = PodVolumes(
            kept,
            places=VolumePlaces(self.mounts, PodCgroups(self.kubelet.cgroups), bearers),
            node=self.node,
            cells=self.host.runner.cells,
            settings=Settings(str(self.kubelet.directory), wait=wait),
        )
        waiting = Waiting(kept.cell, self.host.runner.cells.outcome, self.mounts)
        async with self.host.serving():
            beside = [
                asyncio.create_task(part())
                for part in (GonePods(self.volumes).run, waiting.run)
            ]
            try:
                yield self
            finally:
                for task in beside:
                    task.cancel()
                writing = (t for t in asyncio.all_tasks() if t.get_name() == "volumes")
                await asyncio.wait([*beside, *writing])

    async def publish(self, publish: Publish) -> None:
        await self.volumes.publish(publish)

    async def unpublish(self, pod: FakePod, volume: str = "consul-ebpf") -> None:
        await self.volumes.unpublish(pod.volume_id(volume), str(pod.target(volume)))

    def register(self, *pods: FakePod, service: str = "web") -> None:
        """Make these pods' registrations, and no others, Consul's."""
        self.registrations.set(
            tuple(
                Registration(
                    id=f"{pod.name}-{service}-sidecar-proxy",
                    destination=service,
                    pod=pod.name,
                    pod_namespace=pod.namespace,
                    pod_uid=pod.uid,
                )
                for pod in pods
            )
        )

    @property
    def vips(self) -> int:
        """How many VIPs the kernel has."""
        return len(self.host.table.vips)

    def line(self, pod: FakePod) -> str:
        """What the volume's file `waiting` says; empty: there is none."""
        path = pod.target() / WAITING
        return path.read_text() if path.exists() else ""

    def bearer(self, pod: FakePod) -> str:
        """The pod's token on this host; empty: there is none."""
        path = self.state / ".bearer" / pod.key
        return path.read_text() if path.exists() else ""

    async def until_started(self, *pods: FakePod) -> None:
        """Return when each pod's Envoy could start."""
        await self.host.until(
            lambda: all((pod.target() / "bootstrap.json").exists() for pod in pods)
        )

    async def until_line(self, pod: FakePod, part: str) -> None:
        await self.host.until(
            lambda: part in self.line(pod) if part else not self.line(pod)
        )
