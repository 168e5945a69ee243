"""The controller as a DaemonSet of the lab's cluster."""

import json
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
    GRPC_PORT,
    METHOD,
    NAMESPACE,
)
from tests.lab.kubernetes.files import CONSUL_ADDRESSES
from tests.lab.kubernetes.local import COMMAND, fit, places
from tests.lab.kubernetes.manifests import (
    CA_DIRECTORY,
    DRIVER,
    LISTEN,
    NAME,
    manifests,
)
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.processes import LabError, wait_until

_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


class ControllerDaemonSet(Held):
    """`consul-ebpf run` on the node, as its users deploy it."""

    def __init__(
        self,
        mesh: PodsMesh,
        config: Mapping[str, Any] | None = None,
        objects: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Prepare.

        Args:
            mesh: runs already.
            config: tables of its configuration to put in place of ours.
            objects: what is applied; empty: the project's manifests. A ConfigMap is
                replaced by one with this configuration.
        """
        self._mesh = mesh
        self._cluster = mesh.cluster
        self.config = {**_config(mesh), **(config or {})}
        """The tables of its configuration."""
        self._objects = objects

    def hold(self, stack: ExitStack) -> None:
        """Apply it and wait until its pod is ready."""
        for place in places(self._cluster).values():
            place.mkdir(exist_ok=True)
        bpffs = places(self._cluster)["/sys/fs/bpf"]
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        subprocess.run(["mount", "--make-shared", bpffs], check=True)
        objects = self._objects or manifests(self._cluster)
        made = [
            fit(self._cluster, each) for each in objects if each["kind"] != "ConfigMap"
        ]
        self._cluster.apply(self._settings(), *made)
        stack.callback(self._remove)
        self.wait_ready()

    def configure(self, **tables: Any) -> None:
        """Change tables of its configuration; a new pod has them."""
        self.config = {**self.config, **tables}
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
            told = self._cluster.kubectl("get", "events", "-n", NAMESPACE)
            error.add_note(f"{self.log()}\n{told}")
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

    def status(self) -> dict[str, Any]:
        """Return what `status --json` prints in its pod."""
        answer = json.loads(self.run("status", "--json"))
        assert isinstance(answer, dict)
        return answer

    def _settings(self) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "data": {"config.toml": toml(self.config)},
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
