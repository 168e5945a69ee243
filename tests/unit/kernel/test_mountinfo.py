"""Reading /proc: mounts of every kind, and where a path is."""

import os
from pathlib import Path

import pytest

from consul_ebpf.kernel.mountinfo import kind_at, mounts_of_init, parse_mounts

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
    found = parse_mounts(HYBRID)
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
    assert kind_at(Path(path), parse_mounts(HYBRID)) == kind


def test_fault_105_a_mount_point_is_bytes() -> None:
    """Not UTF-8, not ASCII, every escape of the kernel's; others are found as ever."""
    more = rb"""40 22 0:41 / /mnt/m\351 rw - ext4 /dev/sdb rw
""".replace(rb"\351", b"\xe9")
    more += "41 22 0:42 / /mnt/é\N{NO-BREAK SPACE}x rw - ext4 /dev/sdc rw\n".encode()
    more += rb"""42 22 0:43 / /mnt/\011a\012b\134040 rw - bpf bpf rw
43 22 0:44 / /mnt/\\xe9 rw - ext4 /dev/\xff rw
"""
    found = parse_mounts(HYBRID + more)[6:]
    assert [os.fsencode(mount.point) for mount in found] == [
        b"/mnt/m\xe9",
        "/mnt/é\N{NO-BREAK SPACE}x".encode(),
        b"/mnt/\ta\nb\\040",
        rb"/mnt/\\xe9",
    ]
    assert kind_at(Path("/sys/fs/bpf"), parse_mounts(more + HYBRID)) == "bpf"


def test_the_newest_of_two_mounts_at_one_place_counts() -> None:
    """It hides the older one."""
    both = "1 0 0:1 / /x rw - bpf bpf rw\n2 0 0:2 / /x rw - tmpfs tmpfs rw\n"
    assert kind_at(Path("/x/y"), parse_mounts(both.encode())) == "tmpfs"


def test_mounts_are_told_apart_by_number_and_device() -> None:
    """As the kernel numbers them: a mount on one host, and a file system."""
    root, *_ = parse_mounts(HYBRID)
    assert (root.number, root.device, root.root) == ("22", "254:1", "/")
    assert mounts_of_init(), "every process may read them"
