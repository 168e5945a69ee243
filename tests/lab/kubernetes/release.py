"""The project's chart, installed by the real Helm into the lab's cluster."""

import json
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tests.lab.chart_values import CHART
from tests.lab.held import Held
from tests.lab.helm import helm
from tests.lab.kubernetes.admission import Injector, Operations
from tests.lab.kubernetes.api import Object, ready
from tests.lab.kubernetes.consul import NAMESPACE
from tests.lab.kubernetes.files import CONSUL_ADDRESSES
from tests.lab.kubernetes.local import fit, places
from tests.lab.kubernetes.mesh import PodsMesh

RELEASE = "consul-ebpf"
LABEL = "app.kubernetes.io/name"


class Release(Held):
    """A release; what it installs is what its users get, but for the pods' image.

    The image is the node's business: a webhook of the lab's puts this checkout in the
    place of it, and the lab's directories in that of the host's.
    """

    def __init__(self, mesh: PodsMesh) -> None:
        """Prepare; nothing is installed."""
        self.mesh = mesh
        self.cluster = mesh.cluster

    def hold(self, stack: ExitStack) -> None:
        """Make what a node and its image bring along."""
        for place in places(self.cluster).values():
            place.mkdir(exist_ok=True)
        bpffs = places(self.cluster)["/sys/fs/bpf"]
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        stack.enter_context(_Checkout(self.cluster, name="aa-lab-image"))
        stack.callback(self._remove)

    def helm(self, command: str, *args: str, **values: Any) -> str:
        """Run `helm COMMAND RELEASE …` with these values; return what it prints."""
        given = json.dumps(values) if values else None
        more = ["--values=-"] if values else []
        where = [f"--kubeconfig={self.cluster.kubeconfig}", f"--namespace={NAMESPACE}"]
        return helm(command, RELEASE, *args, *where, *more, given=given)

    def install(self, command: str = "install", **values: Any) -> str:
        """Install the chart, or upgrade to it, and wait until all of it is ready."""
        whole = {**self._values(), **values}
        try:
            return self.helm(command, str(CHART), "--wait", "--timeout=1m", **whole)
        except subprocess.CalledProcessError as error:
            error.add_note(self.logs())
            raise

    def pods(self, name: str = "") -> list[Object]:
        """Return the pods of the release, or those of this name's workload."""
        found = self.cluster.api.list(f"/api/v1/namespaces/{NAMESPACE}/pods")
        names = {name} if name else {"consul-ebpf", "consul-ebpf-webhook"}
        return [
            each
            for each in found
            if each["metadata"].get("labels", {}).get(LABEL) in names
            and "deletionTimestamp" not in each["metadata"]
        ]

    def logs(self) -> str:
        """Return what its pods have printed."""
        said = []
        for pod in self.pods():
            name = pod["metadata"]["name"]
            state = "ready" if ready(pod) else "not ready"
            said.append(f"--- {name}: {state}")
            told = ("logs", "-n", NAMESPACE, name, "--tail=100")
            try:
                said.append(self.cluster.kubectl(*told))
            except subprocess.CalledProcessError as error:
                said.append(str(error.stderr))
            said += self.cluster.pods.events(name, NAMESPACE)
        return "\n".join(said)

    def _values(self) -> Mapping[str, Any]:
        consul = self.mesh.consul
        return {
            "consul": {
                "addresses": list(CONSUL_ADDRESSES),
                "httpAddresses": consul.servers.https_addresses,
            },
            "kubeletDirectory": str(self.cluster.kubelet_directory),
        }

    def _remove(self) -> None:
        """Uninstall it, unless that was done."""
        try:
            self.helm("uninstall", "--ignore-not-found", "--wait", "--timeout=1m")
        except subprocess.CalledProcessError as error:
            error.add_note(self.logs())
            raise


class _Checkout(Injector):
    """Puts this checkout into the pods of the release."""

    def operations(self, pod: Object) -> Operations:
        name = pod["metadata"].get("labels", {}).get(LABEL, "")
        if name not in {"consul-ebpf", "consul-ebpf-webhook"}:
            return []
        whole = {"spec": {"template": {"spec": pod["spec"]}}}
        spec = fit(self._cluster, whole)["spec"]["template"]["spec"]
        return [{"op": "replace", "path": "/spec", "value": spec}]
