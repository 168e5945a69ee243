"""Looks at this host: its cgroup v2, and who has locked a file."""

import errno
import os
from pathlib import Path

from consul_ebpf.base.boundary import boundary
from consul_ebpf.kernel.mountinfo import Points, kind_at, mount_at, mounts, read_points
from consul_ebpf.model.errors import CgroupError, KernelError

TRUE_ROOT_INODE = 1
"""Inode of cgroup v2's root. A cgroup namespace shows another directory as its root."""

_FIRST_CGROUP_NAMESPACE = "cgroup:[4026531835]"  # the kernel's own number for it


@boundary(CgroupError, "kernel.cgroup cannot be used")
def find_cgroup(configured: str) -> Path:
    """Return the cgroup v2 directory to attach at, symbolic links resolved.

    Args:
        configured: a path, or `auto` for the true root.

    Raises:
        CgroupError: there is none, it is not cgroup v2, or only the root of a cgroup
            namespace can be seen.
    """
    seen = mounts()
    if configured != "auto":
        path = Path(configured)
        if not path.is_dir():
            raise CgroupError(
                f"kernel.cgroup {path} is not a directory: name an existing cgroup v2 "
                'directory, or write cgroup = "auto"'
            )
        directory = path.resolve()
        if kind_at(directory, seen) != "cgroup2":
            raise CgroupError(
                f"kernel.cgroup {path} is not in a cgroup v2 file system: name a "
                'directory below a cgroup2 mount, or write cgroup = "auto"'
            )
        return directory
    roots = [mount.point for mount in seen if mount.kind == "cgroup2"]
    if not roots:
        raise CgroupError(
            "cgroup v2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup/unified "
            "(hybrid hosts), or boot with systemd.unified_cgroup_hierarchy=1"
        )
    for root in roots:
        if _inode(root) == TRUE_ROOT_INODE:
            return root
    raise CgroupError(
        f"{roots[0]} is the root of a cgroup namespace, not the host: programs there "
        "would miss other pods' connects; run in the host's cgroup namespace (docker: "
        "--cgroupns=host), or name a cgroup in kernel.cgroup"
    )


@boundary(CgroupError, "the cgroup's depth cannot be read")
def cgroup_level(directory: Path, points: Points | None = None) -> int:
    """Return how deep a cgroup v2 directory is below the host's root, which is 0.

    Args:
        directory: its path, without links or `..`.
        points: this process's mounts; None: they are read.

    Raises:
        CgroupError: it is not below a cgroup v2 mount, or this process is in a cgroup
            namespace, which hides the depth of its own root.
    """
    mount = mount_at(directory, read_points() if points is None else points)
    if mount is None or mount.kind != "cgroup2":
        raise CgroupError(f"{directory} is not below a cgroup v2 mount")
    below = len(directory.relative_to(mount.point).parts)
    if mount.point.stat().st_ino == TRUE_ROOT_INODE:
        return below
    above = Path(mount.root).parts[1:]
    # By os.readlink, because the target of a namespace's link is not a path.
    if os.readlink("/proc/self/ns/cgroup") != _FIRST_CGROUP_NAMESPACE or ".." in above:  # noqa: PTH115
        raise CgroupError(
            f"how deep {directory} is cannot be seen from within a cgroup namespace: "
            "run in the host's (docker: --cgroupns=host)"
        )
    return len(above) + below


@boundary(KernelError, "which process holds this host's lock cannot be read")
def lock_holder(path: Path) -> int | None:
    """Return the pid of the process with a flock on `path`; None if there is none.

    The pid of a process in another pid namespace is 0.
    """
    try:
        status = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EACCES):
            return None
        raise
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    wanted = f"{device}:{status.st_ino}"
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted:
            return int(fields[4])
    return None


def cgroup_path(cgroup_id: int) -> Path | None:
    """Return the cgroup directory with this id, its inode number; None if gone."""
    for mount in mounts():
        if mount.kind != "cgroup2" or not cgroup_id:
            continue
        for directory, _, _ in os.walk(mount.point):
            if _inode(Path(directory)) == cgroup_id:
                return Path(directory)
    return None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:  # removed meanwhile, or we may not look
        return None
