"""The BPF file system that keeps tables and links, also without the controller.

It must be the host's. One that a container mounted for itself dies with the container,
and takes the links along: so it is mounted only where the mount stays.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from consul_ebpf.base.boundary import boundary
from consul_ebpf.kernel.mountinfo import (
    Mount,
    kind_at,
    mount_of,
    mounts,
    mounts_of_init,
)
from consul_ebpf.model.errors import BpffsError

STANDARD_BPFFS = Path("/sys/fs/bpf")

FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""How /proc/PID/ns/pid reads for the host's own; the kernel gives it this number."""


@boundary(BpffsError, "kernel.bpffs cannot be used")
def check_bpffs(path: Path) -> None:
    """Check that a BPF file system, and the host's own, is mounted at or above `path`.

    Raises:
        BpffsError: none is.
    """
    ours = mounts()
    found = mount_of(path.resolve(), ours)
    if found is None or found.kind != "bpf":
        raise BpffsError(
            f"kernel.bpffs {path} is not a BPF file system: mount -t bpf bpf {path}, "
            f"or set kernel.bpffs to where one is mounted (usually {STANDARD_BPFFS})"
        )
    if is_only_ours(found, ours, mounts_of_init()):
        raise BpffsError(
            f"kernel.bpffs {path} is this container's own, and would end with it: mount"
            f" the host's {STANDARD_BPFFS} into the container"
        )


def ensure_bpffs(path: Path) -> None:
    """Do as `check_bpffs`, but mount it if it is missing at the standard place.

    Raises:
        BpffsError: it is missing at another place or in a container, or cannot be
            mounted.
    """
    try:
        check_bpffs(path)
    except BpffsError as error:
        ours = mounts()
        if path != STANDARD_BPFFS or kind_at(path, ours) == "bpf":
            raise
        # By os.readlink, because the target of a namespace's link is not a path.
        pids = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
        if in_container(ours, mounts_of_init(), pids):
            raise BpffsError(
                f"kernel.bpffs {path} is not a BPF file system: mount the host's"
                f" {path} into the container (on the host: mount -t bpf bpf {path})"
            ) from None
        done = subprocess.run(
            ["mount", "-t", "bpf", "-o", "mode=700", "bpf", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BpffsError(f"{error} ({done.stderr.strip()})") from error


def in_container(
    ours: Sequence[Mount], init: Sequence[Mount], pid_namespace: str
) -> bool:
    """Whether what is mounted here may end with this process. Pure.

    A container has mounts of its own. So they are not those of process 1, or process 1
    is the container's own and not the host's. Namespaces of other processes can be told
    apart by privileged processes only; but every process may read the mounts of another
    one, and their numbers.

    Args:
        ours: this process's mounts.
        init: those of process 1; empty: not known.
        pid_namespace: as /proc/self/ns/pid reads.
    """
    return pid_namespace != FIRST_PID_NAMESPACE or _has_others(ours, init)


def is_only_ours(bpffs: Mount, ours: Sequence[Mount], init: Sequence[Mount]) -> bool:
    """Whether a BPF file system is mounted here and not where process 1 sees it. Pure.

    Args:
        bpffs: its mount here.
        ours: this process's mounts.
        init: those of process 1; empty: not known.
    """
    theirs = {mount.device for mount in init if mount.kind == "bpf"}
    return _has_others(ours, init) and bpffs.device not in theirs


def _has_others(ours: Sequence[Mount], init: Sequence[Mount]) -> bool:
    """Whether process 1 is known to have other mounts than this process."""
    root, theirs = mount_of(Path("/"), ours), mount_of(Path("/"), init)
    return root is not None and theirs is not None and root.number != theirs.number


def open_to_others(bpffs: Path) -> bool:
    """Whether any user may make directories in a BPF file system; False if unknown."""
    try:
        return bool(bpffs.stat().st_mode & 0o022)
    except OSError:
        return False
