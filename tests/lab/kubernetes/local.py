"""Manifests as users apply them, made to fit the lab's node.

The image has nothing but a shell: the host's Python and this checkout are mounted into
it. What would be in the host's /run, /var/lib and /sys/fs/bpf is below the cluster's
directory, which goes with it.
"""

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.images import CONTROLLER

CHECKOUT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "consul_ebpf"]

_SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ssl")


def places(cluster: Cluster) -> dict[str, Path]:
    """Return where a host's directories are in the lab: those that are written."""
    kubelet = cluster.kubelet_directory
    return {
        "/var/lib/kubelet": kubelet,
        "/run/consul-ebpf": cluster.root / "run",
        "/var/lib/consul-ebpf": cluster.root / "var",
        "/sys/fs/bpf": cluster.root / "bpf",
    }


def fit(cluster: Cluster, manifest: Mapping[str, Any]) -> Object:
    """Return a manifest for the lab; what has no pods of ours stays as it is."""
    made = copy.deepcopy(dict(manifest))
    template = (made.get("spec") or {}).get("template")
    if template:
        _fit_pod(cluster, template["spec"])
    return made


def _fit_pod(cluster: Cluster, spec: Object) -> None:
    volumes = spec.setdefault("volumes", [])
    for volume in volumes:
        if path := volume.get("hostPath", {}).get("path"):
            volume["hostPath"]["path"] = _outside(cluster, path)
    mounted = _program(spec)
    for name, path in mounted.items():
        volumes.append({"name": name, "hostPath": {"path": path}})
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        container["image"] = CONTROLLER
        container["imagePullPolicy"] = "Never"
        container["command"] = [*COMMAND, *container.get("command", [])[1:]]
        environment = container.setdefault("env", [])
        more = {
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **cluster.api_environment,
        }
        environment += [{"name": name, "value": value} for name, value in more.items()]
        mounts = container.setdefault("volumeMounts", [])
        for mount in mounts:
            mount["mountPath"] = _inside(cluster, mount["mountPath"])
        for name, path in mounted.items():
            mounts.append({"name": name, "mountPath": path, "readOnly": True})


def _program(spec: Object) -> dict[str, str]:
    """Return by name what is mounted of the host to run this checkout."""
    wanted = [*_SYSTEM, str(CHECKOUT)]
    if not Path(sys.prefix).is_relative_to(CHECKOUT):
        wanted.append(sys.prefix)
    return {f"lab-{n}": path for n, path in enumerate(dict.fromkeys(wanted))}


def _outside(cluster: Cluster, path: str) -> str:
    for known, here in places(cluster).items():
        if Path(path).is_relative_to(known):
            return str(here / Path(path).relative_to(known))
    return path


def _inside(cluster: Cluster, path: str) -> str:
    """Kubelet says paths below its directory, so that one is the same inside."""
    known = "/var/lib/kubelet"
    if Path(path).is_relative_to(known):
        return str(cluster.kubelet_directory / Path(path).relative_to(known))
    return path
