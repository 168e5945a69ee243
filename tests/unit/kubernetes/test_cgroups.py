"""A pod's cgroup is found whatever way kubelet names it."""

from pathlib import Path

import pytest

from consul_ebpf.kubernetes.pods.cgroups import PodCgroups

UID = "0a1b2c3d-0000-4000-8000-00000000abcd"
SYSTEMD = UID.replace("-", "_")
BURSTABLE = "kubepods.slice/kubepods-burstable.slice"
KIND = "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice"


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("", f"kubepods/besteffort/pod{UID}"),
        ("", f"kubepods/burstable/pod{UID}"),
        ("", f"kubepods/pod{UID}"),
        (
            "/",
            f"{BURSTABLE}/kubepods-burstable-pod{SYSTEMD}.slice",
        ),
        ("", f"kubepods.slice/kubepods-pod{SYSTEMD}.slice"),
        ("kubelet", f"kubelet/kubepods/burstable/pod{UID}"),
        (
            "/kubelet",
            f"{KIND}/kubelet-kubepods-besteffort-pod{SYSTEMD}.slice",
        ),
        (
            "docker/4711",
            f"docker/4711/kubepods.slice/kubepods-pod{SYSTEMD}.slice",
        ),
    ],
)
def test_each_form_is_found(tmp_path: Path, root: str, path: str) -> None:
    """Both of kubelet's drivers, all classes, and kubelet's cgroup root."""
    (tmp_path / path).mkdir(parents=True)
    (tmp_path / path.replace("abcd", "0000")).mkdir(parents=True)

    assert str(tmp_path / path) == PodCgroups(tmp_path, root).find(UID)


def test_fault_k_a_pod_without_a_cgroup_has_none(tmp_path: Path) -> None:
    """Nothing is found for another pod, nor by a link."""
    (tmp_path / "kubepods").mkdir()
    (tmp_path / f"kubepods/pod{UID}").symlink_to(tmp_path)

    assert "" == PodCgroups(tmp_path).find(UID)
