"""What a node with served pods goes through in a test.

Pods come and go, the driver is away, Consul is, the configuration is another one, the
power is cut.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from consul_ebpf.kernel import objects
from consul_ebpf.kernel.program import CONNECT
from tests.lab.kubernetes.api import MERGE_PATCH, Object
from tests.lab.kubernetes.consul import NAMESPACE, service_account
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.local import places
from tests.lab.kubernetes.manifests import DRIVER, NAME
from tests.lab.kubernetes.processes import pids
from tests.lab.kubernetes.served import ServedPods
from tests.lab.processes import LabError, wait_until
from tests.lab.scratch import cgroup2_mount, mounts

VOLUME = "consul-ebpf"
CSIDRIVERS = "/apis/storage.k8s.io/v1/csidrivers"
DAEMONSET = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{NAME}"
NOWHERE = "consul-ebpf.io/nowhere"
DRIVER_AWAY = "not found in the list of registered CSI drivers"
"""What kubelet says of a volume meanwhile."""


class Life:
    """Of a node, its pods and its controller."""

    def __init__(self, served: ServedPods) -> None:
        self.mesh = served.mesh
        self.controller = served.controller
        self.cluster = served.mesh.cluster
        self.pods = served.mesh.pods
        self.consul = served.mesh.consul

    def start(self, *names: str, wait: bool = True, **spec: Any) -> list[Object]:
        """Make pods at once, each of a service of its name; return them when ready."""
        for name in names:
            made = self.mesh.add_pod(
                name, **{"terminationGracePeriodSeconds": 1, **spec}
            )
            status = made["metadata"]["annotations"].get("consul-ebpf.io/status")
            assert status == "rewritten", made["metadata"]["annotations"]
            commands = [each.get("command") for each in made["spec"]["containers"]]
            assert ["/usr/local/bin/envoy"] in commands
        return [self.ready(name) for name in names] if wait else []

    def ready(self, name: str) -> Object:
        """Wait until a pod is ready."""
        try:
            return self.pods.wait_ready(name)
        except LabError as error:
            error.add_note(self.controller.log())
            raise

    def end(self, *names: str) -> None:
        """Delete pods at once, and wait until nothing of them is left."""
        for name in names:
            self.pods.delete(name)
        for name in names:
            self.pods.wait_gone(name)
        if names:
            wait_until(partial(self._forgets, names), f"the end of {names}'s traces")

    def end_all(self) -> None:
        """Delete all pods of the namespace."""
        found = self.cluster.api.list("/api/v1/namespaces/default/pods")
        self.end(*(each["metadata"]["name"] for each in found))

    def _forgets(self, names: Sequence[str]) -> bool:
        if any(self.tokens(name) or self.files_of(name) for name in names):
            return False
        proxies = self.controller.status()["proxies"]
        return not any(_is_of(each, name) for each in proxies for name in names)

    def tokens(self, name: str) -> list[str]:
        """Return the accessors of a pod's tokens."""
        return [
            each["AccessorID"]
            for each in self.consul.tokens()
            if f'"default/{name}"' in each["Description"]
        ]

    def proxy(self, name: str) -> Object | None:
        """Return what the controller's status says of a pod; None: nothing."""
        proxies = self.controller.status()["proxies"]
        return next((each for each in proxies if _is_of(each, name)), None)

    def files_of(self, name: str) -> list[str]:
        """Return the controller's own files of a pod on the host."""
        run = places(self.cluster)["/run/consul-ebpf"]
        return [str(path) for path in run.rglob(f"*default.{name}.*")]

    def volume(self, pod: Object, name: str = VOLUME) -> Path:
        """Return where a pod's volume is on the host."""
        uid = str(pod["metadata"]["uid"])
        volumes = self.cluster.kubelet_directory / "pods" / uid / "volumes"
        return volumes / "kubernetes.io~csi" / name / "mount"

    def wait_volume(self, name: str) -> Path:
        """Wait until a pod's volume is mounted."""

        def look() -> Path | None:
            pod = self.pods.get(name)
            volume = self.volume(pod) if pod else None
            return volume if volume and volume.is_mount() else None

        found: Path | None = wait_until(look, f"the volume of {name}")
        assert found
        return found

    def wait_waiting(self, name: str, words: str) -> None:
        """Wait until the file in a pod's volume says what is missing."""
        file = self.wait_volume(name) / "waiting"
        try:
            wait_until(lambda: words in file.read_text(), f"{words!r} in {file}")
        except LabError as error:
            said = file.read_text() if file.exists() else "no such file"
            error.add_note(said)
            error.add_note(self.controller.log())
            raise

    def wait_log(self, name: str, words: str) -> None:
        """Wait until one of a pod's init containers has printed this."""
        pod = self.pods.get(name) or {}
        names = [each["name"] for each in pod["spec"]["initContainers"]]

        def look() -> bool:
            return any(words in self.pods.logs(name, each) for each in names)

        wait_until(look, f"{words!r} in the log of {name}")

    def envoy(self, pod: Object) -> PodEnvoy:
        """Return a pod's Envoy, connected."""
        found = PodEnvoy(pod)
        found.wait_connected(20.0)
        return found

    def vip(self, pod: Object) -> str:
        """Return the VIP in a pod's bootstrap."""
        text = (self.volume(pod) / "bootstrap.json").read_text()
        start = text.index("127.64.")
        return text[start : text.index('"', start)]

    def exec(self, name: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a pod's application container, whatever comes of it."""
        try:
            said = self.cluster.kubectl(
                "exec", name, "-c", "application", "--", *command
            )
        except subprocess.CalledProcessError as error:
            code = error.returncode
            return subprocess.CompletedProcess(command, code, "", error.stderr)
        return subprocess.CompletedProcess(command, 0, said, "")

    @contextmanager
    def down(self, *, wait: bool = True) -> Iterator[None]:
        """Have no driver on the node meanwhile; wait until it is ready afterwards."""
        before = self.controller.pod()["metadata"]
        self._select({NOWHERE: "true"})
        self.pods.wait_gone(before["name"], NAMESPACE)
        yield
        self._select({NOWHERE: None})
        if wait:
            self.controller.wait_ready(but=before["uid"])

    def _select(self, nodes: dict[str, str | None]) -> None:
        spec = {"spec": {"template": {"spec": {"nodeSelector": nodes}}}}
        self.cluster.api.call("PATCH", DAEMONSET, spec, content_type=MERGE_PATCH)

    @contextmanager
    def configured(self, **tables: Any) -> Iterator[None]:
        """Have other tables in the controller's configuration meanwhile."""
        self.controller.configure(**tables)
        self.controller.replace()
        yield
        self.controller.configure(**{name: {} for name in tables})
        self.controller.replace()

    def patch_driver(self, **spec: Any) -> None:
        """Change the CSIDriver object."""
        path = f"{CSIDRIVERS}/{DRIVER}"
        self.cluster.api.call("PATCH", path, {"spec": spec}, content_type=MERGE_PATCH)

    @contextmanager
    def consul_away(self) -> Iterator[None]:
        """Have no Consul server meanwhile; they come back with all that they knew."""
        servers = self.consul.servers
        everybody = range(len(servers.addresses))
        for index in everybody:
            servers.kill(index)
        try:
            yield
        finally:
            servers.restart(*everybody)

    def forget_servers(self) -> None:
        """Remove the file of known servers, and the tables: a node that is new."""
        there = places(self.cluster)
        (there["/var/lib/consul-ebpf"] / "servers.json").unlink()
        shutil.rmtree(there["/sys/fs/bpf"] / "consul-ebpf", ignore_errors=True)

    def power_off(self) -> None:
        """Cut the node's power: what was in memory is gone."""
        self.cluster.power_off()
        there = places(self.cluster)
        shutil.rmtree(there["/run/consul-ebpf"])
        assert not there["/sys/fs/bpf"].is_mount()

    def power_on(self) -> None:
        """Start the node again, with what was on its disk."""
        bpffs = places(self.cluster)["/sys/fs/bpf"]
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        self.cluster.power_on()

    def processes(self, pod: Object) -> dict[int, str]:
        """Return what runs of a pod."""
        try:
            return pids(pod)
        except LabError:  # its cgroup is gone
            return {}

    @staticmethod
    def kill(pid: int, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(pid, number)

    @staticmethod
    def accounts(*names: str) -> list[Object]:
        """Describe service accounts."""
        return [service_account(name) for name in names]

    def secret(self, token: Object) -> str:
        """Return the secret of a token of Consul's."""
        path = f"/v1/acl/token/{token['AccessorID']}"
        return str(self.consul.servers.call("GET", path)["SecretID"])

    def bearers(self) -> list[Path]:
        """Return the files of pods' service account tokens."""
        run = places(self.cluster)["/run/consul-ebpf"]
        return [each for each in (run / ".bearer").iterdir() if each.is_file()]

    def state(self, name: str) -> str:
        """Return one of the controller's files."""
        there = places(self.cluster)
        for place in (there["/var/lib/consul-ebpf"], there["/run/consul-ebpf"]):
            if (place / name).exists():
                return (place / name).read_text()
        raise LabError(f"no {name}")

    def pinned(self) -> list[str]:
        """Return the names of what is ours in the node's bpffs."""
        bpffs = places(self.cluster)["/sys/fs/bpf"]
        return [each.name for each in bpffs.glob("consul-ebpf*")]

    def attached(self) -> int:
        """Count the programs that see a connect() anywhere on the node."""
        directory = os.open(cgroup2_mount() or "/", os.O_RDONLY)
        try:
            return len(objects.programs_at(directory, CONNECT.hooks["connect4"])[0])
        finally:
            os.close(directory)

    def sockets(self) -> list[str]:
        """Return the sockets of drivers below kubelet's directory."""
        kubelet = self.cluster.kubelet_directory
        found = [*kubelet.glob("plugins/*/*"), *kubelet.glob("plugins_registry/*")]
        return [str(each) for each in found if each.is_socket()]

    def mounted(self) -> Sequence[str]:
        """Return where volumes of ours are mounted on the node."""
        found = (line.split() for line in mounts())
        return [where for what, where, *_ in found if what == "consul-ebpf"]


def _is_of(proxy: Object, name: str) -> bool:
    """Say whether a proxy is a pod's, which may have no id yet."""
    id_ = str(proxy["id"])
    return id_ == f"{name}-{name}-sidecar-proxy" or id_.startswith(f"default.{name}.")
