"""The whole: a cluster, Consul, and what stands in for consul-k8s."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.lab.held import Held
from tests.lab.kubernetes.admission import Injector
from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.consul import PodsConsul, service_account
from tests.lab.kubernetes.images import APPLICATION, consul
from tests.lab.kubernetes.injected import INJECT, Settings
from tests.lab.kubernetes.registrar import Registrar


class PodsMesh(Held):
    """Pods are injected and registered as by consul-k8s; nothing is ours yet."""

    def __init__(
        self, consul_bin: Path, envoy: Path, settings: Settings | None = None
    ) -> None:
        """Prepare; entering takes half a minute."""
        self._consul_bin = consul_bin
        self._envoy = envoy
        self._settings = settings

    def hold(self, stack: ExitStack) -> None:
        """Start all of it."""
        self.cluster = stack.enter_context(Cluster(consul(self._envoy)))
        self.pods = self.cluster.pods
        self.consul = stack.enter_context(PodsConsul(self._consul_bin, self.cluster))
        injector = Injector(self.cluster, self._settings)
        self.injector = stack.enter_context(injector)
        registrar = Registrar(self.cluster, self.consul.servers)
        self.registrar = stack.enter_context(registrar)

    def add_pod(self, service: str, name: str = "", **spec: Any) -> Object:
        """Make a pod of a service's, which logs in as its ServiceAccount.

        `spec` are more fields of its specification.
        """
        self.cluster.apply(service_account(service))
        return self.pods.create(meshed(service, name, **spec))


def meshed(
    service: str,
    name: str = "",
    *,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """Return a pod that asks consul-k8s for its proxy."""
    container = {
        "name": "application",
        "image": APPLICATION,
        "imagePullPolicy": "Never",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name or service,
            "annotations": {INJECT: "true", **(annotations or {})},
        },
        "spec": {
            "serviceAccountName": service,
            "containers": [container],
            "terminationGracePeriodSeconds": 5,
            **spec,
        },
    }
