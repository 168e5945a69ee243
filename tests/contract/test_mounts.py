"""What every `Mounts` does with a volume's place below a kubelet directory."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_ebpf.kernel.helper import Helper
from consul_ebpf.kernel.mountinfo import mounts as host_mounts
from consul_ebpf.kubernetes.pods.mounts import Mounts, PlainDirectories, TmpfsMounts
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.testing import FakeMounts

UID = "0a1b2c3d-0000-4000-8000-00000000abcd"
TMPFS = pytest.param("tmpfs", marks=pytest.mark.kernel)


@pytest.fixture
def kubelet(tmp_path: Path) -> Path:
    """A kubelet directory in which kubelet has prepared a volume's place."""
    directory = tmp_path / "kubelet"
    (directory / f"pods/{UID}/volumes/kubernetes.io~csi/consul-ebpf").mkdir(
        parents=True
    )
    return directory


@pytest.fixture
def target(kubelet: Path) -> str:
    return str(kubelet / f"pods/{UID}/volumes/kubernetes.io~csi/consul-ebpf/mount")


@pytest.fixture(params=["fake", "plain", TMPFS])
def mounts(request: pytest.FixtureRequest, kubelet: Path) -> Iterator[Mounts]:
    if request.param == "fake":
        yield FakeMounts()
    elif request.param == "plain":
        yield PlainDirectories(str(kubelet))
    else:
        helper = Helper.start({"sys_admin"}, str(kubelet))
        yield TmpfsMounts(helper, str(kubelet))
        helper.close()


@pytest.fixture
def helper(kubelet: Path) -> Iterator[Helper]:
    made = Helper.start({"sys_admin"}, str(kubelet))
    yield made
    made.close()


@pytest.fixture
def tmpfs(helper: Helper, kubelet: Path) -> TmpfsMounts:
    return TmpfsMounts(helper, str(kubelet))


def points(below: Path) -> list[Path]:
    mounted = (mount.point for mount in host_mounts())
    return [point for point in mounted if point.is_relative_to(below)]


def names_in(target: str) -> list[str]:
    return [path.name for path in Path(target).iterdir()]


def test_a_volume_is_made_and_removed(mounts: Mounts, target: str) -> None:
    """Files can be written after `mount`; after `unmount` nothing is there."""
    assert not mounts.is_mounted(target)

    mounts.mount(target)
    assert mounts.is_mounted(target)
    assert 0o755 == Path(target).stat().st_mode & 0o777
    (Path(target) / "bootstrap.json").write_text("{}")

    mounts.unmount(target)
    assert not Path(target).exists()
    assert Path(target).parent.exists()


def test_twice_is_once(mounts: Mounts, target: str, kubelet: Path) -> None:
    """A second `mount` keeps the files; a second `unmount` is a success."""
    mounts.mount(target)
    (Path(target) / "bootstrap.json").write_text("{}")
    mounts.mount(target)
    assert ["bootstrap.json"] == names_in(target)

    mounts.unmount(target)
    mounts.unmount(target)
    assert [] == points(kubelet)


def test_a_volume_of_a_pod_that_is_gone_is_unmounted(
    mounts: Mounts, target: str
) -> None:
    """If kubelet has removed the pod's directory, there is nothing to do."""
    mounts.unmount(target.replace("abcd", "ffff"))


def test_without_kubelets_directory_nothing_is_made(
    mounts: Mounts, target: str
) -> None:
    """Only the last directory is ours to make."""
    with pytest.raises(ConsulEbpfError):
        mounts.mount(target.replace("abcd", "ffff"))


def test_fault_k_files_of_an_earlier_boot_are_removed(
    kubelet: Path, target: str
) -> None:
    """A directory on the disk outlives a reboot: its files must not start an Envoy."""
    mounts = PlainDirectories(str(kubelet))
    mounts.mount(target)
    for name in ("bootstrap.json", "token.json", "waiting"):
        (Path(target) / name).write_text("old")

    mounts.empty(target)

    assert [] == names_in(target)


@pytest.mark.kernel
def test_a_volume_is_a_small_tmpfs(tmpfs: TmpfsMounts, target: str) -> None:
    """It is of 4 MB, and nothing in it can be executed."""
    tmpfs.mount(target)
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    (line,) = [line for line in lines if line.split()[4] == target]
    status = os.statvfs(target)
    tmpfs.unmount(target)

    assert {"rw", "nosuid", "nodev", "noexec"} <= set(line.split()[5].split(","))
    assert 4 << 20 == status.f_blocks * status.f_frsize


@pytest.mark.kernel
def test_a_doubled_mount_is_unmounted_whole(
    tmpfs: TmpfsMounts, target: str, tmp_path: Path
) -> None:
    """Nothing stays mounted, however often somebody has mounted there."""
    tmpfs.mount(target)
    subprocess.run(["mount", "-t", "tmpfs", "second", target], check=True)

    tmpfs.unmount(target)

    assert [] == points(tmp_path)


@pytest.mark.kernel
@pytest.mark.parametrize("step", ["", "kubernetes.io~csi", "consul-ebpf", "mount"])
def test_no_link_below_the_kubelet_directory_is_followed(
    tmpfs: TmpfsMounts, target: str, step: str, tmp_path: Path
) -> None:
    """A link anywhere on the way is refused, and nothing is mounted elsewhere."""
    other = tmp_path / "other"
    names = Path(target).parts[Path(target).parts.index("pods") :]
    link = Path(target)
    while link.name != (step or UID):
        link = link.parent
    below = names[names.index(link.name) + 1 :]
    (other / "/".join(below[:-1])).mkdir(parents=True)
    if link.exists():
        link.rename(tmp_path / "away")
    link.symlink_to(other)

    with pytest.raises(ConsulEbpfError):
        tmpfs.mount(target)

    assert [] == points(tmp_path)


@pytest.mark.kernel
def test_a_helper_without_a_kubelet_directory_mounts_nothing(
    target: str, kubelet: Path
) -> None:
    """The directory is fixed at the start: a request cannot name one."""
    helper = Helper.start({"sys_admin"})
    with pytest.raises(ConsulEbpfError, match="without volumes"):
        TmpfsMounts(helper, "/").mount(target)
    helper.close()

    assert [] == points(kubelet)


@pytest.mark.kernel
@pytest.mark.parametrize("uid", ["..", "a/b", ""])
def test_a_uid_is_no_path(helper: Helper, uid: str) -> None:
    """What a request names is a name, and never a way to elsewhere."""
    assert helper.ask("mount", uid, "x", seconds=5)["errno"]
