"""`doctor`: what the node plugin needs of its node, seen from its container."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from consul_ebpf.base.lines import one_line
from consul_ebpf.cli import client
from consul_ebpf.cli.findings import Finding
from consul_ebpf.config.kubernetes import csi_socket, registration_socket
from consul_ebpf.config.schema import Config, Kubernetes
from consul_ebpf.kernel import bpffs, host
from consul_ebpf.kernel.mountinfo import Points, mount_at, read_points
from consul_ebpf.kubernetes.pods.cgroups import PodCgroups
from consul_ebpf.kubernetes.pods.remaining import PROGRAM, find_remaining
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.http_address import MAX_SOCKET_PATH
from consul_ebpf.wiring.files import api_socket

TOP_INODE = 1
"""Of the directory of the whole hierarchy of cgroup v2."""

SHOWN = 10
"""Pods that are named."""


def find_node(config: Config) -> list[Finding]:
    """Return what is right and wrong; nothing without `[kubernetes]`."""
    if not config.kubernetes.enabled:
        return []
    return [
        *_directories(config.kubernetes),
        *_sockets(config.kubernetes),
        _registered(config),
        *_cgroups(config),
        *_pods(),
    ]


def _directories(kubernetes: Kubernetes) -> Iterator[Finding]:
    kubelet = Path(kubernetes.kubelet_directory)
    needed = (
        kubelet / "pods",
        csi_socket(kubernetes).parent,
        registration_socket(kubernetes).parent,
    )
    for path in map(Path, needed):
        if not path.is_dir():
            wrong = f"{path} is not there: mount the node's into this container, at the"
            text = f"{wrong} same path, or set kubernetes.kubelet_directory"
            yield Finding.failed("kubelet's directory", text)
        else:
            yield Finding("kubelet's directory", str(path))
    if needed[0].is_dir():
        try:
            yield find_propagation(needed[0], kubernetes.volumes, read_points())
        except ConsulEbpfError as error:
            yield Finding("mount propagation", str(error), error)


def find_propagation(pods: Path, volumes: str, points: Points) -> Finding:
    """Say whether pods see what is mounted in kubelet's directory of pods. Pure."""
    name = "mount propagation"
    mount = mount_at(pods, points)
    kind = mount.propagation if mount else "private"
    if volumes == "directory" or kind == "shared":
        return Finding(name, f"{pods} is {kind}, volumes are {volumes}")
    return Finding.failed(
        name,
        f"{pods} is {kind}, so pods would not see volumes that are mounted here: set"
        ' mountPropagation: Bidirectional, or kubernetes.volumes = "directory"',
    )


def _sockets(kubernetes: Kubernetes) -> Iterator[Finding]:
    for path in (csi_socket(kubernetes), registration_socket(kubernetes)):
        size = len(str(path).encode())
        there = "there" if os.path.lexists(path) else "not there: start run"
        text = f"{path}, {size} of {MAX_SOCKET_PATH} bytes, {there}"
        yield Finding("kubelet's socket", text, warn=there != "there")


def _registered(config: Config) -> Finding:
    name = "registered with kubelet"
    try:
        shown = client.status(api_socket(config))
    except (OSError, ConsulEbpfError) as error:
        why = getattr(error, "strerror", None) or error
        return Finding(name, f"no controller answers: {one_line(why)}", warn=True)
    return find_registration(config.kubernetes.driver, shown)


def find_registration(driver: str, status: dict[str, Any]) -> Finding:
    """Say what kubelet made of the driver, by a controller's status. Pure."""
    name = "registered with kubelet"
    node = status.get("kubernetes") or {}
    match node.get("registered"):
        case True:
            return Finding(name, driver)
        case False:
            why = one_line(node.get("error") or "no reason given")
            return Finding.failed(name, f"kubelet refused {driver}: {why}")
    text = f"kubelet has not said anything of {driver} yet: does it run, with its"
    return Finding(name, f"{text} plugins_registry mounted here?", warn=True)


def _cgroups(config: Config) -> Iterator[Finding]:
    try:
        top = host.find_cgroup("auto")
    except ConsulEbpfError:  # doctor has said it
        return
    if top.stat().st_ino != TOP_INODE:
        text = (
            f"{top} is not the root of all cgroups: mount the node's /sys/fs/cgroup"
            " into this container"
        )
        yield Finding.failed("root of the cgroups", text)
    else:
        yield Finding("root of the cgroups", str(top))
    yield find_pods_cgroups(PodCgroups(top, config.kubernetes.cgroup_root))


def find_pods_cgroups(cgroups: PodCgroups) -> Finding:
    """Say where pods' cgroups are."""
    name, found = "pods' cgroups", cgroups.find_all()
    if found:
        return Finding(name, found)
    text = (
        f"no kubepods below {cgroups.where}: set kubernetes.cgroup_root to kubelet's"
        " cgroupRoot"
    )
    return Finding(name, text, warn=True)


def _pods() -> Iterator[Finding]:
    # By os.readlink, because the target of a namespace's link is not a path.
    if os.readlink("/proc/self/ns/pid") != bpffs.FIRST_PID_NAMESPACE:  # noqa: PTH115
        text = (
            "the node's processes are not seen here, so connections of pods cannot be"
            " cut: set hostPID: true"
        )
        yield Finding("hostPID", text, warn=True)
        return
    yield Finding("hostPID", "the node's processes are seen")
    remaining = find_remaining()
    if not remaining:
        yield Finding("pods with consul-dataplane", "none")
        return
    uids = ", ".join(sorted(remaining)[:SHOWN])
    more = " ..." if len(remaining) > SHOWN else ""
    text = (
        f"{len(remaining)}: {uids}{more}: they run {PROGRAM} as before; their"
        " annotation consul-ebpf.io/status says why, and pods older than the webhook"
        " have to be restarted"
    )
    yield Finding("pods with consul-dataplane", text, warn=True)
