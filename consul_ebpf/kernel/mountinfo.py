"""Reads which file systems are mounted where, as a process sees them."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.base.boundary import boundary
from consul_ebpf.model.errors import KernelError

_OCTAL = re.compile(rb"\\([0-7]{3})")  # how spaces and line ends are written


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    point: Path
    kind: str
    root: str
    """The directory of the file system that is mounted."""
    number: str = ""
    """Of the mount; no other mount of the host has it."""
    device: str = ""
    """Of the file system, `major:minor`: the same wherever it is mounted."""
    propagation: str = "private"
    """`shared`: what is mounted below it is mounted for its peers, too; `slave`: only
    the other way round; else `private`."""


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
        number, _, device, root, point = (_text(column) for column in columns[:5])
        kind = os.fsdecode(kinds[0])
        shared = _propagation(columns[6:])
        mounts.append(Mount(Path(point), kind, root, number, device, shared))
    return mounts


def _propagation(optional: Iterable[bytes]) -> str:
    tags = {field.partition(b":")[0] for field in optional}
    if b"shared" in tags:
        return "shared"
    return "slave" if b"master" in tags else "private"


def _text(column: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), column))


@boundary(KernelError, "this host's mounts cannot be read")
def mounts() -> list[Mount]:
    """Return this process's mounts."""
    return parse_mounts(Path("/proc/self/mountinfo").read_bytes())


def mounts_of_init() -> list[Mount]:
    """Return those of process 1, which are the host's; empty if they cannot be read."""
    try:
        return parse_mounts(Path("/proc/1/mountinfo").read_bytes())
    except OSError:
        return []


Points = Mapping[Path, Mount]
"""The newest mount at each mount point: it hides older ones there."""


def points_of(mounts: Iterable[Mount]) -> Points:
    """Return mounts by their points, for many looks at them."""
    return {mount.point: mount for mount in mounts}


def read_points() -> Points:
    """Return this process's mounts by their points."""
    return points_of(mounts())


def mount_at(path: Path, points: Points) -> Mount | None:
    """Return the mount, of these, that a path is on; None if it is on none of them."""
    return next(filter(None, map(points.get, (path, *path.parents))), None)


def mount_of(path: Path, among: Iterable[Mount]) -> Mount | None:
    """Do as `mount_at`, for one look."""
    return mount_at(path, points_of(among))


def kind_at(path: Path, among: Iterable[Mount]) -> str:
    """Return the kind of file system a path is on; empty if it is on no such mount."""
    mount = mount_of(path, among)
    return mount.kind if mount else ""


def mount_point(path: Path) -> Path:
    """Return the nearest mount point at or above a path."""
    mount = mount_of(path, mounts())
    return mount.point if mount else Path("/")
