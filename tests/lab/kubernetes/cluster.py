"""A real cluster of one node: etcd, the control plane, containerd and kubelet.

There is no kube-proxy and no DNS: a pod that asks the API server is told where it is
(see `api_environment`), the API server asks a webhook's pods by their own addresses,
and Consul's servers have addresses of the bridge (`CONSUL_ADDRESSES`). Images are what
`images.py` makes.
"""

import json
import os
import shutil
import ssl
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab.held import Held
from tests.lab.http_request import StatusError
from tests.lab.kubernetes import arguments, binaries, host, images
from tests.lab.kubernetes.api import Api, Pods
from tests.lab.kubernetes.arguments import NODE, Ports
from tests.lab.kubernetes.files import (
    CNI_PLUGINS,
    CONSUL_ADDRESSES,
    GATEWAY,
    NODE_ADDRESS,
    write_containerd,
    write_credentials,
    write_kubelet,
)
from tests.lab.kubernetes.images import Image
from tests.lab.kubernetes.links import add_bridge
from tests.lab.leftovers import sweep_clusters
from tests.lab.processes import Child, wait_until
from tests.lab.scratch import PREFIX

PACKAGES = ("runc", "containernetworking-plugins", "busybox-static")
"""Debian's."""
_ANYBODY = ssl._create_unverified_context()


def missing() -> str:
    """Say why there can be no cluster here; empty: there can."""
    if binaries.find() is None:
        return "no Kubernetes: run with nox, or python -m tests.lab.kubernetes.binaries"
    if not (find_runc() and CNI_PLUGINS.is_dir()):
        return "no runc, or no network plugins: apt-get install " + " ".join(PACKAGES)
    return images.missing()


def find_runc() -> str | None:
    """Look for runc where the system's programs are."""
    return shutil.which("runc", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Cluster(Held):
    """One node and its control plane; one at a time on a host."""

    def __init__(
        self,
        more_images: Iterable[Image] = (),
        *,
        sync_seconds: float = 10.0,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            more_images: what there is besides `images.basic()`.
            sync_seconds: how often kubelet looks at each pod; by default 60 elsewhere.
        """
        self._images = [*images.basic(), *more_images]
        self._sync_seconds = sync_seconds

    def hold(self, stack: ExitStack) -> None:
        """Start all of it, each part when the one before is ready."""
        self._binaries = binaries.ensure()
        stack.enter_context(host.only_one())
        sweep_clusters()
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX))
        stack.callback(host.remove, self.root)
        host.record(self.root)
        add_bridge((GATEWAY, NODE_ADDRESS, *CONSUL_ADDRESSES))
        self.credentials = write_credentials(self.root)
        self.ports = Ports.free()
        self.url = f"https://{NODE_ADDRESS}:{self.ports.api}"
        self.credentials.write_kubeconfig(self.url)
        self.api = Api(self.url, self.credentials.ca, self.credentials.token)
        self.pods = Pods(self.api)
        self._children: dict[str, Child] = {}
        stack.callback(self._kill_all)
        self._start_control_plane()
        self.start_containerd()
        for image in self._images:
            self.add_image(image)
        self.start_kubelet()

    @property
    def kubelet_directory(self) -> Path:
        """Kubelet's root directory, as short as its sockets need it."""
        return self.root / "k"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.credentials.kubeconfig

    @property
    def api_environment(self) -> dict[str, str]:
        """What a pod's containers need to find the API server."""
        address = {"KUBERNETES_SERVICE_HOST": NODE_ADDRESS}
        return {**address, "KUBERNETES_SERVICE_PORT": str(self.ports.api)}

    def kubectl(self, *args: str, given: str | None = None) -> str:
        """Run kubectl as the administrator and return what it prints.

        Raises:
            subprocess.CalledProcessError: it failed; its words are in a note.
        """
        try:
            return subprocess.run(
                [self._binaries / "kubectl", f"--kubeconfig={self.kubeconfig}", *args],
                input=given,
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
                env={**os.environ, "HOME": str(self.root)},  # where it keeps a cache
            ).stdout
        except subprocess.CalledProcessError as error:
            error.add_note(str(error.stderr))
            raise

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Make or change objects, as `kubectl apply --server-side` does."""
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f-", given=given)

    def add_image(self, image: Image) -> None:
        """Have the node know an image."""
        path = image.write(self.root)
        self.ctr("images", "import", str(path))
        path.unlink()

    def ctr(self, *args: str) -> str:
        """Run containerd's own client."""
        at = str(self.root / "containerd.sock")
        command = [str(self._binaries / "ctr"), "-a", at, "-n", "k8s.io", *args]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout

    def start_kubelet(self) -> None:
        """Start kubelet (again) and wait until the node is ready."""
        ports = (self.ports.kubelet, self.ports.kubelet_health)
        config = write_kubelet(self.root, ports, self._sync_seconds)
        directory = self.kubelet_directory
        self._start("kubelet", arguments.kubelet(self.root, directory, config))
        health = self.ports.kubelet_health
        healthy = f"http://127.0.0.1:{health}/healthz"
        self._wait("kubelet", lambda: _answers(healthy), "healthy")
        self._wait("kubelet", self._node_ready, f"node {NODE} ready")
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait("kubelet", lambda: bool(self.api.find(account)), account)

    def stop_kubelet(self) -> None:
        """SIGKILL kubelet; the pods go on."""
        self._children["kubelet"].kill()

    def start_containerd(self) -> None:
        """Start containerd (again) and wait until it answers."""
        containerd = self._binaries / "containerd"
        runc = find_runc() or "runc"
        config = write_containerd(self.root, containerd, images.PAUSE, runc)
        self._start("containerd", [f"--config={config}"])
        self._wait("containerd", self._containerd_answers, "answering")

    def power_off(self) -> None:
        """Have the node lose its power: no pod, no mount, nothing of /run is left.

        The control plane is elsewhere. So is what the lab itself runs on this host:
        whatever else the node had in memory is for the caller to remove.
        """
        for part in ("kubelet", "containerd"):
            self._children[part].kill()
        host.switch_off(self.root)
        for in_run in ("state", "runc", "shims"):
            shutil.rmtree(self.root / in_run, ignore_errors=True)

    def power_on(self) -> None:
        """Start the node again; it has what was on its disk."""
        self.start_containerd()
        self.start_kubelet()

    def _containerd_answers(self) -> bool:
        try:
            self.ctr("plugins", "list")
        except subprocess.CalledProcessError:
            return False
        return True

    def last_words(self, part: str) -> str:
        """Return what a part said last: by the name of its program"""
        return self._children[part].last_words(30)

    def log(self, part: str) -> str:
        """Return all that a part said."""
        return self._children[part].stderr.read_text(errors="replace")

    def _start_control_plane(self) -> None:
        self._start("etcd", arguments.etcd(self.root, self.ports))
        healthy = f"http://127.0.0.1:{self.ports.etcd}/health"
        self._wait("etcd", lambda: _answers(healthy), "healthy")
        self._start("kube-apiserver", arguments.api_server(self.root, self.ports))
        self._wait("kube-apiserver", self._api_ready, "ready", 60.0)
        starting = {
            "kube-controller-manager": (arguments.controllers, self.ports.controllers),
            "kube-scheduler": (arguments.scheduler, self.ports.scheduler),
        }
        for part, (told, _) in starting.items():
            self._start(part, told(self.root, self.ports))
        for part, (_, port) in starting.items():
            url = f"https://127.0.0.1:{port}/healthz"
            self._wait(part, partial(_answers, url), "healthy")

    def _start(self, part: str, args: Sequence[str]) -> None:
        path = f"{self._binaries}:{os.environ['PATH']}:/usr/sbin:/sbin"
        self._children[part] = Child(
            part,
            [self._binaries / part, *args],
            self.root,
            env={"PATH": path, "HOME": str(self.root)},
        )

    def _wait(self, part: str, look: Any, what: str, timeout: float = 30.0) -> None:
        child = self._children[part]

        def there() -> bool:
            child.must_run()
            return bool(look())

        try:
            wait_until(there, f"{part}: {what}", timeout)
        except Exception as error:
            error.add_note(child.last_words(30))
            raise

    def _api_ready(self) -> bool:
        return bool(self.api.call("GET", "/readyz") == "ok")

    def _node_ready(self) -> bool:
        node = self.api.find(f"/api/v1/nodes/{NODE}")
        conditions = node["status"].get("conditions", []) if node else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _kill_all(self) -> None:
        # The API server does not end by itself once etcd is gone.
        for part in reversed(self._children):
            self._children[part].kill()


def _answers(url: str) -> bool:
    with suppress(StatusError):
        answer = urllib.request.urlopen(url, timeout=2, context=_context(url))
        with answer:
            return bool(answer.status == 200)
    return False


def _context(url: str) -> ssl.SSLContext | None:
    return _ANYBODY if url.startswith("https:") else None
