"""Reading /proc: mounts of every kind, and where a path is."""

import os
from functools import partial
from pathlib import Path

import pytest

from consul_ebpf import BccMapBackend, BpffsError, CgroupError, ConsulEbpfError
from consul_ebpf.base.lines import one_line
from consul_ebpf.kernel import host
from consul_ebpf.kernel.pins import Pins

HYBRID = b"""\
22 1 254:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:26 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
33 22 0:29 / /sys/fs/bpf rw,nosuid - bpf bpf rw,mode=700
34 22 0:30 / /mnt/with\\040space rw - bpf bpf rw
torn line
"""


def test_mounts_are_parsed_in_order() -> None:
    """Hybrid hierarchies, optional fields, escaped spaces; a torn line is skipped."""
    found = host.parse_mounts(HYBRID)
    assert [(str(m.point), m.kind) for m in found] == [
        ("/", "ext4"),
        ("/sys/fs/cgroup", "tmpfs"),
        ("/sys/fs/cgroup/cpu", "cgroup"),
        ("/sys/fs/cgroup/unified", "cgroup2"),
        ("/sys/fs/bpf", "bpf"),
        ("/mnt/with space", "bpf"),
    ]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc", "ext4"),
        ("/sys/fs/cgroup/unified/a/b", "cgroup2"),
        ("/sys/fs/cgroup/cpu/a", "cgroup"),
        ("/sys/fs/cgroup", "tmpfs"),
        ("/sys/fs/bpf/x", "bpf"),
        ("/sys/fs/bpfx", "ext4"),
    ],
)
def test_the_deepest_mount_says_what_a_path_is(path: str, kind: str) -> None:
    """By whole names of directories."""
    assert host.kind_at(Path(path), host.parse_mounts(HYBRID)) == kind


def test_fault_105_a_mount_point_is_bytes() -> None:
    """Not UTF-8, not ASCII, every escape of the kernel's; others are found as ever."""
    more = rb"""40 22 0:41 / /mnt/m\351 rw - ext4 /dev/sdb rw
""".replace(rb"\351", b"\xe9")
    more += "41 22 0:42 / /mnt/é\N{NO-BREAK SPACE}x rw - ext4 /dev/sdc rw\n".encode()
    more += rb"""42 22 0:43 / /mnt/\011a\012b\134040 rw - bpf bpf rw
43 22 0:44 / /mnt/\\xe9 rw - ext4 /dev/\xff rw
"""
    found = host.parse_mounts(HYBRID + more)[6:]
    assert [os.fsencode(mount.point) for mount in found] == [
        b"/mnt/m\xe9",
        "/mnt/é\N{NO-BREAK SPACE}x".encode(),
        b"/mnt/\ta\nb\\040",
        rb"/mnt/\\xe9",
    ]
    assert host.kind_at(Path("/sys/fs/bpf"), host.parse_mounts(more + HYBRID)) == "bpf"


def test_the_newest_of_two_mounts_at_one_place_counts() -> None:
    """It hides the older one."""
    both = "1 0 0:1 / /x rw - bpf bpf rw\n2 0 0:2 / /x rw - tmpfs tmpfs rw\n"
    assert host.kind_at(Path("/x/y"), host.parse_mounts(both.encode())) == "tmpfs"


def test_a_directory_that_is_no_bpffs_is_named(tmp_path: Path) -> None:
    """With the command that makes it one."""
    with pytest.raises(BpffsError, match=f"mount -t bpf bpf {tmp_path}"):
        host.ensure_bpffs(tmp_path)


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
        partial(host.check_bpffs, Path(path)),
        partial(BccMapBackend.open, bpffs=path),
        *(pins.open_tables, pins.holder, pins.links),
    ):
        with pytest.raises(ConsulEbpfError) as refused:
            use()
        assert one_line(refused.value, 6000).isprintable()


def test_nobody_holds_what_nobody_locked(tmp_path: Path) -> None:
    """Nor what is not there."""
    assert host.lock_holder(tmp_path) is None
    assert host.lock_holder(tmp_path / "none") is None
