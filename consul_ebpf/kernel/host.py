"""What this host offers: the cgroup v2 root, bpffs, capabilities.

Looks and never changes anything but for `ensure_bpffs`, which mounts the BPF file
system at the one place meant for it.
"""

import contextlib
import errno
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.model.errors import BpffsError, CgroupError

STANDARD_BPFFS = Path("/sys/fs/bpf")
TRUE_ROOT_INODE = 1
"""Of the directory of cgroup v2's root; a cgroup namespace shows another directory."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    point: Path
    kind: str
    root: str


def parse_mounts(mountinfo: str) -> list[Mount]:
    """Parse /proc/self/mountinfo, in mount order; malformed lines are skipped."""
    mounts = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        columns, kinds = fields.split(), rest.split()
        if len(columns) < 5 or not kinds:
            continue
        point = columns[4].encode().decode("unicode_escape")  # spaces are \040
        mounts.append(Mount(Path(point), kinds[0], columns[3]))
    return mounts


def mounts() -> list[Mount]:
    """Return this process's mounts."""
    return parse_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))


def kind_at(path: Path, among: list[Mount]) -> str:
    """Name the file system a path is on; empty if none is known."""
    kind, depth = "", -1
    for mount in among:
        if path.is_relative_to(mount.point) and len(mount.point.parts) >= depth:
            kind, depth = mount.kind, len(mount.point.parts)
    return kind


def mount_point(path: Path) -> Path:
    """Return the nearest mount point at or above a path."""
    points = {mount.point for mount in mounts()}
    return next((each for each in (path, *path.parents) if each in points), Path("/"))


def find_cgroup(configured: str) -> Path:
    """Return the cgroup v2 directory to attach at.

    Args:
        configured: a path, or `auto` for the true root.

    Raises:
        CgroupError: there is none, it is not cgroup v2, or only a cgroup namespace's
            false root is to be seen.
    """
    seen = mounts()
    if configured != "auto":
        path = Path(configured)
        if not path.is_dir():
            raise CgroupError(
                f"kernel.cgroup {path} is not a directory: name an existing cgroup v2 "
                'directory, or write cgroup = "auto"'
            )
        if kind_at(path.resolve(), seen) != "cgroup2":
            raise CgroupError(
                f"kernel.cgroup {path} is not in a cgroup v2 file system: name a "
                'directory below a cgroup2 mount, or write cgroup = "auto"'
            )
        return path
    roots = [mount.point for mount in seen if mount.kind == "cgroup2"]
    if not roots:
        raise CgroupError(
            "cgroup v2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup/unified "
            "(hybrid hosts), or boot with systemd.unified_cgroup_hierarchy=1"
        )
    for root in roots:
        if root.stat().st_ino == TRUE_ROOT_INODE:
            return root
    raise CgroupError(
        f"{roots[0]} is the root of a cgroup namespace, not the host: programs there "
        "would miss other pods' connects; run in the host's cgroup namespace (docker: "
        "--cgroupns=host), or name a cgroup in kernel.cgroup"
    )


def check_bpffs(path: Path) -> None:
    """Make sure a BPF file system is mounted at `path` or above it.

    Raises:
        BpffsError: it is not.
    """
    if kind_at(path.resolve(), mounts()) != "bpf":
        raise BpffsError(
            f"kernel.bpffs {path} is not a BPF file system: mount -t bpf bpf {path}, "
            f"or set kernel.bpffs to where one is mounted (usually {STANDARD_BPFFS})"
        )


def ensure_bpffs(path: Path) -> None:
    """Do as `check_bpffs`, but mount it where it is missing at the standard place.

    Raises:
        BpffsError: it is missing elsewhere, or cannot be mounted.
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


def lock_holder(path: Path) -> int | None:
    """Return the pid of who holds a flock on `path`, None if nobody does.

    A holder in another pid namespace is seen as pid 0.
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
        if fields[1] == "FLOCK" and fields[5] == wanted:
            return int(fields[4])
    return None


def cgroup_path(cgroup_id: int) -> Path | None:
    """Find the cgroup directory with an id, which is its inode number; None if gone."""
    for mount in mounts():
        if mount.kind != "cgroup2" or not cgroup_id:
            continue
        if mount.point.stat().st_ino == cgroup_id:
            return mount.point
        for directory, _, _ in os.walk(mount.point):
            with contextlib.suppress(OSError):  # removed while we walk
                if Path(directory).stat().st_ino == cgroup_id:
                    return Path(directory)
    return None
