"""Looking at this host: directories that are not what they should be are named."""

from functools import partial
from pathlib import Path

import pytest

from consul_ebpf import BccMapBackend, BpffsError, CgroupError, ConsulEbpfError
from consul_ebpf.base.lines import one_line
from consul_ebpf.kernel import bpffs, host
from consul_ebpf.kernel.mountinfo import Mount, points_of
from consul_ebpf.kernel.pins import Pins


def test_a_directory_that_is_no_bpffs_is_named(tmp_path: Path) -> None:
    """With the command that makes it one."""
    with pytest.raises(BpffsError, match=f"mount -t bpf bpf {tmp_path}"):
        bpffs.ensure_bpffs(tmp_path)


def test_a_directory_that_is_no_cgroup_is_named(tmp_path: Path) -> None:
    """Whether it is there or not."""
    with pytest.raises(CgroupError, match=f"{tmp_path} is not in a cgroup v2"):
        host.find_cgroup(str(tmp_path))
    with pytest.raises(CgroupError, match="is not a directory"):
        host.find_cgroup(str(tmp_path / "none"))


@pytest.mark.parametrize("path", ["/\0", "/\ud800", "/" + 5000 * "a", "/dev/zero"])
def test_fault_105_any_configured_path_is_told_in_one_line(path: str) -> None:
    """As one of our errors, whatever it holds and whoever uses it."""
    pins = Pins(Path(path))
    for use in (
        partial(host.find_cgroup, path),
        partial(bpffs.check_bpffs, Path(path)),
        partial(BccMapBackend.open, bpffs=path),
        *(pins.open_tables, pins.holder, pins.links),
    ):
        with pytest.raises(ConsulEbpfError) as refused:
            use()
        assert one_line(refused.value, 6000).isprintable()


def test_depth_is_counted_from_the_true_root() -> None:
    """It is a mount's whose inode is 1, whatever root a cgroup namespace shows."""
    for root in ("/", "/../.."):  # /proc has that inode, too
        points = points_of([Mount(Path("/proc"), "cgroup2", root)])
        assert host.cgroup_level(Path("/proc"), points) == 0
        assert host.cgroup_level(Path("/proc/sys/net"), points) == 2


@pytest.mark.parametrize("root", ["/..", "/../..", "/../x"])
def test_a_root_above_a_namespace_is_not_counted(tmp_path: Path, root: str) -> None:
    """How deep it is cannot be seen from within."""
    points = points_of([Mount(tmp_path, "cgroup2", root)])
    with pytest.raises(CgroupError, match="run in the host's"):
        host.cgroup_level(tmp_path / "pod", points)


def test_nobody_holds_what_nobody_locked(tmp_path: Path) -> None:
    """Nor what is not there."""
    assert host.lock_holder(tmp_path) is None
    assert host.lock_holder(tmp_path / "none") is None
