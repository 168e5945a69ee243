"""Whose a BPF file system is, and whether one may be mounted."""

import pytest

from consul_ebpf.kernel.bpffs import STANDARD_BPFFS, in_container, is_only_ours
from consul_ebpf.kernel.mountinfo import Mount, mount_of, parse_mounts

FIRST, OTHER = "pid:[4026531836]", "pid:[4026532001]"
HOST = parse_mounts(b"""\
22 1 254:1 / / rw - ext4 /dev/root rw
33 22 0:29 / /sys/fs/bpf rw - bpf bpf rw,mode=700
""")
BARE = HOST[:1]
POD = parse_mounts(b"900 880 0:88 / / rw - overlay overlay rw\n")
WITH_HOSTS = POD + parse_mounts(b"901 900 0:29 / /sys/fs/bpf rw - bpf bpf rw\n")
WITH_OWN = POD + parse_mounts(b"901 900 0:90 / /sys/fs/bpf rw - bpf bpf rw\n")


@pytest.mark.parametrize(
    ("ours", "init", "pids", "expected"),
    [
        (BARE, BARE, FIRST, False),
        (BARE, [], FIRST, False),  # nobody may see them: as on most hosts
        (POD, BARE, FIRST, True),  # hostPID
        (POD, POD, OTHER, True),
        (POD, [], OTHER, True),
        (WITH_HOSTS, HOST, FIRST, True),
    ],
)
def test_a_container_has_mounts_or_processes_of_its_own(
    ours: list[Mount], init: list[Mount], pids: str, expected: bool
) -> None:
    """What is mounted there dies with it."""
    assert in_container(ours, init, pids) is expected


@pytest.mark.parametrize(
    ("ours", "init", "expected"),
    [
        (HOST, HOST, False),
        (WITH_HOSTS, HOST, False),
        (WITH_OWN, HOST, True),
        (WITH_OWN, BARE, True),
        (WITH_OWN, WITH_OWN, False),  # its own process 1: not to be told
        (WITH_OWN, [], False),
    ],
)
def test_fault_k_a_bpffs_that_ends_with_the_container(
    ours: list[Mount], init: list[Mount], expected: bool
) -> None:
    """Another one that is mounted at the same path is no use."""
    bpffs = mount_of(STANDARD_BPFFS, ours)
    assert bpffs is not None
    assert is_only_ours(bpffs, ours, init) is expected
