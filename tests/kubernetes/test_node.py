"""The node plugin with a real kubelet: what it registers, and what is shown of it."""

import stat
from pathlib import Path

import pytest

from consul_ebpf.kubernetes.pods.remaining import PROGRAM
from tests.lab.kubernetes.manifests import DRIVER
from tests.lab.kubernetes.processes import all_named
from tests.lab.kubernetes.served import ServedPods
from tests.lab.processes import wait_until
from tests.lab.scratch import cgroup2_mount

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
]

CLASSIC = {"consul-ebpf.io/rewrite": "false"}
"""Annotations of a pod that keeps its consul-dataplane."""


def sockets(served: ServedPods) -> list[Path]:
    kubelet = served.mesh.cluster.kubelet_directory
    return [
        kubelet / "plugins" / DRIVER / "csi.sock",
        kubelet / "plugins_registry" / f"{DRIVER}-reg.sock",
    ]


def test_doctor_says_what_there_is_of_a_node(served: ServedPods) -> None:
    """By kubectl exec: nothing fails, and pods that are as before are named."""
    pod = served.mesh.add_pod("classic", annotations=CLASSIC)
    try:
        # It never is ready: what stands in for the program does nothing.
        wait_until(lambda: all_named(f"bin/{PROGRAM}"), "its consul-dataplane", 20)
        said = served.controller.run("doctor").splitlines()
    finally:
        served.mesh.pods.delete("classic")
        served.mesh.pods.wait_gone("classic")
    assert [] == [line for line in said if line.startswith("FAIL")]
    top = cgroup2_mount()
    for line in (
        f"ok   registered with kubelet: {DRIVER}",
        f"ok   root of the cgroups: {top}",
        f"ok   pods' cgroups: {top}/kubepods",
        "ok   hostPID: the node's processes are seen",
    ):
        assert line in said
    kubelet = served.mesh.cluster.kubelet_directory
    shared = f"ok   mount propagation: {kubelet}/pods is shared, volumes are tmpfs"
    assert shared in said
    (remaining,) = (line for line in said if f"pods with {PROGRAM}" in line)
    assert remaining.startswith("warn ")
    assert pod["metadata"]["uid"] in remaining
    for path in sockets(served):
        size = len(str(path))
        line = f"ok   kubelet's socket: {path}, {size} of 107 bytes, there"
        assert line in said


def test_status_shows_a_pod_by_its_name(served: ServedPods) -> None:
    """With its proxy, and nothing that it waits for."""
    served.mesh.add_pod("shown")
    try:
        pod = served.mesh.pods.wait_ready("shown")
        node = served.controller.status()["kubernetes"]
        (volume,) = (each for each in node["volumes"] if each["pod"] == "default/shown")
        assert pod["metadata"]["uid"] == volume["uid"]
        assert (True, []) == (volume["published"], volume["problems"])
        assert "shown-shown-sidecar-proxy" == volume["proxy"]
    finally:
        served.mesh.pods.delete("shown")
        served.mesh.pods.wait_gone("shown")


def test_only_root_can_call_the_plugin(served: ServedPods) -> None:
    """A pod that sees kubelet's directories and is not root cannot ask for volumes."""
    for path in sockets(served):
        status = path.lstat()
        assert stat.S_ISSOCK(status.st_mode)
        assert (0, 0o600) == (status.st_uid, stat.S_IMODE(status.st_mode))
