"""Makes the node plugin and the source of pods' proxies. Only imported where needed."""

import os
from collections.abc import Mapping
from pathlib import Path

from consul_ebpf.base.filling import fill_from
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tasks import Work
from consul_ebpf.config.kubernetes import (
    catalog_node,
    csi_socket,
    registration_socket,
)
from consul_ebpf.config.schema import Config
from consul_ebpf.kernel import host
from consul_ebpf.kernel.closed_files import Asks
from consul_ebpf.kubernetes.csi.plugin import Plugin
from consul_ebpf.kubernetes.pods.bearers import Bearers
from consul_ebpf.kubernetes.pods.cgroups import PodCgroups
from consul_ebpf.kubernetes.pods.gone import GonePods
from consul_ebpf.kubernetes.pods.join import Registration
from consul_ebpf.kubernetes.pods.kept import KeptVolumes
from consul_ebpf.kubernetes.pods.mounts import Mounts, PlainDirectories, TmpfsMounts
from consul_ebpf.kubernetes.pods.places import VolumePlaces
from consul_ebpf.kubernetes.pods.proxy import Node
from consul_ebpf.kubernetes.pods.registrations import Registrations
from consul_ebpf.kubernetes.pods.volumes import PodVolumes, Settings
from consul_ebpf.kubernetes.pods.waiting import Waiting
from consul_ebpf.kubernetes.pods.workloads import VolumeWorkloads
from consul_ebpf.model.values import PluginState
from consul_ebpf.wiring.consul import Parts


class KubernetesNode:
    """What serves the pods of this node.

    Args:
        config: the whole configuration.
        parts: what asks Consul.
        helper: mounts volumes.

    Raises:
        ConsulEbpfError: the root of the cgroups cannot be found.
    """

    def __init__(self, config: Config, parts: Parts, helper: Asks) -> None:
        self._config = config
        self._consul = parts
        kubernetes = config.kubernetes
        directory = Path(config.bootstrap.directory)
        bearers = Bearers(directory)
        node = Node(
            catalog_node=catalog_node(kubernetes),
            name=kubernetes.node_name,
            host_ip=os.environ.get("HOST_IP", ""),
            bearers=bearers.directory,
            has_credentials=bool(config.consul.credentials.type),
        )
        kept = self._kept = KeptVolumes(directory)
        mounts = _mounts(config, helper)
        cgroups = PodCgroups(host.find_cgroup("auto"), kubernetes.cgroup_root)
        self._registrations: Latest[tuple[Registration, ...]] = Latest()
        self._volumes = PodVolumes(
            kept,
            places=VolumePlaces(mounts, cgroups, bearers),
            node=node,
            cells=parts.cells,
            settings=Settings(
                kubernetes.kubelet_directory, kubernetes.driver, kubernetes.wait
            ),
        )
        self._waiting = Waiting(kept.cell, parts.cells.outcome, mounts)
        self.source = VolumeWorkloads(kept, self._registrations, node)
        """The proxies of the pods' volumes."""
        self.state: Latest[PluginState] = Latest()
        """What kubelet can do, and what it said."""

    def __repr__(self) -> str:
        return f"<KubernetesNode {self._config.kubernetes.node_name}>"

    @property
    def is_unused(self) -> bool:
        """Whether it is certain that no pod of this node has a volume."""
        return not (self._kept.volumes or self._kept.lacking)

    def parts(self) -> Mapping[str, Work]:
        """Return the parts that run beside the runner's own, by name."""
        kubernetes, consul = self._config.kubernetes, self._config.consul
        registrations = Registrations(
            consul.http_addresses,
            catalog_node(kubernetes),
            datacenter=consul.datacenter,
            token=self._consul.keeper.host_token,
            https=self._consul.https,
        )
        plugin = Plugin(
            self._volumes,
            driver=kubernetes.driver,
            node_name=kubernetes.node_name,
            csi=Path(csi_socket(kubernetes)),
            registering=Path(registration_socket(kubernetes)),
            state=self.state,
        )
        return {
            "pods that are gone": GonePods(self._volumes).run,
            "what volumes wait for": self._waiting.run,
            "registrations of pods": lambda: fill_from(
                registrations.watch(),
                self._registrations,
                name="the list of registrations",
            ),
            "the node plugin": plugin.run,
        }


def _mounts(config: Config, helper: Asks) -> Mounts:
    directory = config.kubernetes.kubelet_directory
    if config.kubernetes.volumes == "tmpfs":
        return TmpfsMounts(helper, directory)
    return PlainDirectories(directory)
