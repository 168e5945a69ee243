"""The controller as a DaemonSet of the lab's cluster."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from tests.lab.controller import toml
from tests.lab.held import Held
from tests.lab.kubernetes import processes
from tests.lab.kubernetes.api import Object, ready
from tests.lab.kubernetes.consul import (
    CA_SECRET,
    GRPC_PORT,
    METHOD,
    NAMESPACE,
    service_account,
)
from tests.lab.kubernetes.files import CONSUL_ADDRESSES
from tests.lab.kubernetes.local import COMMAND, fit, places
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.processes import LabError, wait_until

NAME = "consul-ebpf"
DRIVER = "csi.consul-ebpf.io"
CA_DIRECTORY = "/consul/tls/ca"
LISTEN = "127.0.0.1:9802"
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


class ControllerDaemonSet(Held):
    """`consul-ebpf run` on the node, as its users deploy it."""

    def __init__(
        self,
        mesh: PodsMesh,
        config: Mapping[str, Any] | None = None,
        manifests: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Prepare.

        Args:
            mesh: runs already.
            config: tables of its configuration to put in place of ours.
            manifests: what is applied, but for the ConfigMap; empty: our own.
        """
        self._mesh = mesh
        self._cluster = mesh.cluster
        self._config = {**_config(mesh), **(config or {})}
        self._manifests = manifests or default_manifests()

    def hold(self, stack: ExitStack) -> None:
        """Apply it and wait until its pod is ready."""
        for place in places(self._cluster).values():
            place.mkdir(exist_ok=True)
        bpffs = places(self._cluster)["/sys/fs/bpf"]
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        made = [fit(self._cluster, each) for each in self._manifests]
        self._cluster.apply(service_account(NAME, NAMESPACE), self._settings(), *made)
        stack.callback(self._remove)
        self.wait_ready()

    def configure(self, **tables: Any) -> None:
        """Change tables of its configuration; a new pod has them."""
        self._config = {**self._config, **tables}
        self._cluster.apply(self._settings())

    def pod(self) -> Object:
        """Return its pod on the node.

        Raises:
            LabError: there is none.
        """
        for pod in self._cluster.api.list(f"/api/v1/namespaces/{NAMESPACE}/pods"):
            labels = pod["metadata"].get("labels", {})
            mine = labels.get("app.kubernetes.io/name", labels.get("app")) == NAME
            if mine and "deletionTimestamp" not in pod["metadata"]:
                return pod
        raise LabError("the DaemonSet has no pod")

    def wait_ready(self, but: str = "", timeout: float = 60.0) -> Object:
        """Wait until its pod, another one than `but` (a uid), is ready; return it."""

        def look() -> Object | None:
            try:
                pod = self.pod()
            except LabError:
                return None
            return pod if ready(pod) and pod["metadata"]["uid"] != but else None

        try:
            pod = wait_until(look, "the controller's pod ready", timeout)
        except LabError as error:
            error.add_note(self.log())
            raise
        assert pod is not None
        return pod

    def replace(self) -> Object:
        """Delete its pod and wait for the next one, as an upgrade does; return it."""
        before = self.pod()["metadata"]
        self._cluster.pods.delete(before["name"], NAMESPACE)
        return self.wait_ready(but=before["uid"])

    def kill(self) -> None:
        """SIGKILL the controller; kubelet starts its container again."""
        os.kill(self.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The controller's own, as the host sees it."""
        return processes.pid_of(self.pod(), "consul_ebpf run")

    def log(self) -> str:
        """Return what its pod's containers have printed; empty where there is none."""
        name = f"daemonset/{NAME}"
        args = ("logs", "-n", NAMESPACE, name, "--all-containers", "--tail=200")
        try:
            return self._cluster.kubectl(*args)
        except subprocess.CalledProcessError as error:
            return str(error.stderr)

    def run(self, *args: str) -> str:
        """Run another of its commands in its pod, by `kubectl exec`."""
        pod = self.pod()["metadata"]["name"]
        told = ("exec", "-n", NAMESPACE, pod, "--", *COMMAND, *args)
        return self._cluster.kubectl(*told)

    def _settings(self) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "data": {"config.toml": toml(self._config)},
        }

    def _remove(self) -> None:
        self._cluster.kubectl("delete", "daemonset", NAME, "-n", NAMESPACE, "--wait")
        self._cluster.kubectl("delete", "csidriver", DRIVER, "--ignore-not-found")


def _config(mesh: PodsMesh) -> dict[str, Any]:
    return {
        "consul": {
            "source": "watch",
            "addresses": list(CONSUL_ADDRESSES),
            "grpc_port": GRPC_PORT,
            "http_addresses": mesh.consul.servers.https_addresses,
            "datacenter": "dc1",
            "tls": {"ca_certs": f"{CA_DIRECTORY}/tls.crt"},
            "credentials": {
                "type": "login",
                "auth_method": METHOD,
                "bearer_token_file": _TOKEN,
            },
        },
        "state": {"directory": "/var/lib/consul-ebpf"},
        "api": {"listen": LISTEN},
        "kubernetes": {
            "enabled": True,
            "kubelet_directory": str(mesh.cluster.kubelet_directory),
        },
    }


def default_manifests() -> list[Object]:
    """Return the CSIDriver and the DaemonSet, as the project deploys them."""
    driver = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": DRIVER},
        "spec": {
            "attachRequired": False,
            "podInfoOnMount": True,
            "volumeLifecycleModes": ["Ephemeral"],
            "requiresRepublish": True,
            "fsGroupPolicy": "File",
            "storageCapacity": False,
            "tokenRequests": [{"audience": "", "expirationSeconds": 3600}],
            "serviceAccountTokenInSecrets": True,
        },
    }
    labels = {"app.kubernetes.io/name": NAME}
    daemonset = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": _pod()},
        },
    }
    return [driver, daemonset]


def _pod() -> Object:
    kubelet = "/var/lib/kubelet"
    made = {
        "plugin": (f"{kubelet}/plugins/{DRIVER}", "None"),
        "registry": (f"{kubelet}/plugins_registry", "None"),
        "pods": (f"{kubelet}/pods", "Bidirectional"),
        "cgroup": ("/sys/fs/cgroup", "None"),
        "bpf": ("/sys/fs/bpf", "None"),
        "run": ("/run/consul-ebpf", "None"),
        "state": ("/var/lib/consul-ebpf", "None"),
    }
    host, port = LISTEN.split(":")
    container = {
        "name": NAME,
        "image": "consul-ebpf",
        "args": ["run", "--config", "/etc/consul-ebpf/config.toml"],
        "env": [
            {"name": "NODE_NAME", "valueFrom": _field("spec.nodeName")},
            {"name": "HOST_IP", "valueFrom": _field("status.hostIP")},
        ],
        "securityContext": {"privileged": True},
        "readinessProbe": {
            "httpGet": {"host": host, "port": int(port), "path": "/v1/ready"},
            "periodSeconds": 1,
        },
        "volumeMounts": [
            *(
                {"name": name, "mountPath": path, "mountPropagation": how}
                for name, (path, how) in made.items()
            ),
            {"name": "config", "mountPath": "/etc/consul-ebpf"},
            {"name": "ca", "mountPath": CA_DIRECTORY},
        ],
    }
    directories = [
        {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
        for name, (path, _) in made.items()
    ]
    return {
        "serviceAccountName": NAME,
        "hostNetwork": True,
        "hostPID": True,
        "terminationGracePeriodSeconds": 15,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [
            *directories,
            {"name": "config", "configMap": {"name": NAME}},
            {"name": "ca", "secret": {"secretName": CA_SECRET}},
        ],
    }


def _field(path: str) -> Object:
    return {"fieldRef": {"fieldPath": path}}
