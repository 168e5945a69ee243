"""Looks at this host: its mounts, cgroup v2, bpffs, and who has locked a file.

Only `ensure_bpffs` changes something: it mounts the BPF file system at its standard
place.
"""

import errno
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.base.boundary import boundary
from consul_ebpf.model.errors import BpffsError, CgroupError, KernelError

STANDARD_BPFFS = Path("/sys/fs/bpf")
TRUE_ROOT_INODE = 1
"""Inode of cgroup v2's root. A cgroup namespace shows another directory as its root."""

_FIRST_CGROUP_NAMESPACE = "cgroup:[4026531835]"  # the kernel's own number for it
_OCTAL = re.compile(rb"\\([0-7]{3})")  # how spaces and line ends are written


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    point: Path
    kind: str
    root: str


def parse_mounts(mountinfo: bytes) -> list[Mount]:
    """Parse /proc/self/mountinfo, in mount order; malformed lines are skipped.

    Bytes of a path that are not UTF-8 are kept, as `os.fsdecode` does it.
    """
    mounts = []
    for line in mountinfo.split(b"\n"):
        fields, _, rest = line.partition(b" - ")
        columns, kinds = fields.split(b" "), rest.split(b" ")
        if len(columns) < 5 or not kinds[0]:
            continue
        root, point = (_path(column) for column in columns[3:5])
        mounts.append(Mount(Path(point), os.fsdecode(kinds[0]), root))
    return mounts


def _path(column: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), column))


@boundary(KernelError, "this host's mounts cannot be read")
def mounts() -> list[Mount]:
    """Return this process's mounts."""
    return parse_mounts(Path("/proc/self/mountinfo").read_bytes())


def mount_of(path: Path, among: list[Mount]) -> Mount | None:
    """Return the mount, of these, that a path is on; None if it is on none of them."""
    found = None
    for mount in among:
        depth = len(found.point.parts) if found else 0
        if path.is_relative_to(mount.point) and len(mount.point.parts) >= depth:
            found = mount
    return found


def kind_at(path: Path, among: list[Mount]) -> str:
    """Return the kind of file system a path is on; empty if it is on no such mount."""
    mount = mount_of(path, among)
    return mount.kind if mount else ""


def mount_point(path: Path) -> Path:
    """Return the nearest mount point at or above a path."""
    mount = mount_of(path, mounts())
    return mount.point if mount else Path("/")


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
def cgroup_level(directory: Path) -> int:
    """Return how deep a cgroup v2 directory is below the host's root, which is 0.

    Args:
        directory: its path, without links or `..`.

    Raises:
        CgroupError: it is not below a cgroup v2 mount, or this process is in a cgroup
            namespace, which hides the depth of its own root.
    """
    mount = mount_of(directory, mounts())
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


@boundary(BpffsError, "kernel.bpffs cannot be used")
def check_bpffs(path: Path) -> None:
    """Check that a BPF file system is mounted at `path` or above it.

    Raises:
        BpffsError: none is.
    """
    if kind_at(path.resolve(), mounts()) != "bpf":
        raise BpffsError(
            f"kernel.bpffs {path} is not a BPF file system: mount -t bpf bpf {path}, "
            f"or set kernel.bpffs to where one is mounted (usually {STANDARD_BPFFS})"
        )


def ensure_bpffs(path: Path) -> None:
    """Do as `check_bpffs`, but mount it if it is missing at the standard place.

    Raises:
        BpffsError: it is missing at another place, or cannot be mounted.
    """
    try:
        check_bpffs(path)
    except BpffsError as error:
        if path != STANDARD_BPFFS:
            raise
        done = subprocess.run(
            ["mount", "-t", "bpf", "-o", "mode=700", "bpf", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BpffsError(f"{error} ({done.stderr.strip()})") from error


def open_to_others(bpffs: Path) -> bool:
    """Whether any user may make directories in a BPF file system; False if unknown."""
    try:
        return bool(bpffs.stat().st_mode & 0o022)
    except OSError:
        return False


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
