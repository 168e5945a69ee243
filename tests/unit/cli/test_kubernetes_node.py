"""What `doctor` says of a node in Kubernetes."""

import socket
from pathlib import Path

import msgspec
import pytest

from consul_ebpf.cli.kubernetes_node import (
    find_node,
    find_pods_cgroups,
    find_propagation,
    find_registration,
)
from consul_ebpf.config.kubernetes import csi_socket
from consul_ebpf.config.schema import Bootstrap, Config, Kubernetes
from consul_ebpf.kernel.mountinfo import parse_mounts, points_of
from consul_ebpf.kubernetes.pods.cgroups import PodCgroups

LINE = (
    "36 35 98:0 /kubelet/pods /var/lib/kubelet/pods rw,noatime {} - ext4 /dev/root rw"
)


@pytest.mark.parametrize(
    ("optional", "volumes", "mark"),
    [
        ("shared:1", "tmpfs", "ok  "),
        ("master:1 shared:2", "tmpfs", "ok  "),
        ("master:1", "tmpfs", "FAIL"),
        ("", "tmpfs", "FAIL"),
        ("master:1", "directory", "ok  "),
    ],
)
def test_mounts_have_to_reach_the_node(optional: str, volumes: str, mark: str) -> None:
    """Else a pod would see an empty directory."""
    line = LINE.format(optional).replace("  ", " ")
    points = points_of(parse_mounts(line.encode()))
    found = find_propagation(Path("/var/lib/kubelet/pods"), volumes, points)
    assert str(found).startswith(mark)
    assert ("mountPropagation: Bidirectional" in str(found)) == (mark == "FAIL")


def test_kubelets_word_is_shown() -> None:
    """Registered, refused and why, or nothing yet."""
    said = {"kubernetes": {"registered": True, "error": ""}}
    assert "ok   registered with kubelet: d" == str(find_registration("d", said))
    said = {"kubernetes": {"registered": False, "error": "no\nway"}}
    refused = find_registration("d", said)
    assert "FAIL registered with kubelet: kubelet refused d: no way" == str(refused)
    for nothing in ({}, {"kubernetes": None}, {"kubernetes": {"registered": None}}):
        assert str(find_registration("d", nothing)).startswith("warn registered")


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("", "kubepods"),
        ("", "kubepods.slice"),
        ("kubelet", "kubelet/kubepods"),
        ("kubelet", "kubelet.slice/kubelet-kubepods.slice"),
        ("/a/b", "a/b/kubepods"),
    ],
)
def test_pods_cgroups_are_found(tmp_path: Path, root: str, path: str) -> None:
    """With both of kubelet's drivers, and below a root of its own."""
    cgroups = PodCgroups(tmp_path, root)
    assert "set kubernetes.cgroup_root" in str(find_pods_cgroups(cgroups))
    (tmp_path / path).mkdir(parents=True)
    assert f"ok   pods' cgroups: {tmp_path / path}" == str(find_pods_cgroups(cgroups))


def test_a_node_is_looked_at_from_here(tmp_path: Path) -> None:
    """Missing directories fail; sockets are named with their lengths."""
    kubernetes = Kubernetes(
        enabled=True, node_name="n", kubelet_directory=str(tmp_path), driver="d"
    )
    config = Config(
        kubernetes=kubernetes, bootstrap=Bootstrap(directory=str(tmp_path / "run"))
    )
    said = "\n".join(map(str, find_node(config)))
    assert 3 == said.count("FAIL kubelet's directory: ")
    assert "no controller answers: No such file or directory" in said
    (tmp_path / "pods").mkdir()
    (tmp_path / "plugins_registry").mkdir()
    csi = Path(csi_socket(kubernetes))
    csi.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(csi))
    said = "\n".join(map(str, find_node(config)))
    assert "FAIL kubelet's directory" not in said
    size = len(str(csi))
    assert f"ok   kubelet's socket: {csi}, {size} of 107 bytes, there" in said
    assert "d-reg.sock, " in said
    assert "not there: start run" in said
    off = msgspec.structs.replace(config, kubernetes=Kubernetes())
    assert [] == find_node(off)
