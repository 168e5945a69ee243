"""Directories that `doctor` makes for a moment, in bpffs and as cgroups.

Their names end with the pid, so that the next trial can remove those of a process that
was killed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from consul_ebpf.kernel.mountinfo import mounts
from consul_ebpf.model.errors import KernelError

PREFIX = "consul-ebpf-doctor-"
"""Begins the directories' names; the pid follows."""


@contextmanager
def scratch_pins(bpffs: Path) -> Iterator[Path]:
    """Make a directory in bpffs; remove it, and the pins in it, at the end."""
    directory = bpffs / f"{PREFIX}{os.getpid()}"
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def remove_left(bpffs: Path, cgroup: Path) -> None:
    """Remove the directories of trials that were killed."""
    for left in bpffs.glob(f"{PREFIX}*"):
        if _ended(left):
            shutil.rmtree(left, ignore_errors=True)
    for left in cgroup.glob(f"{PREFIX}*"):
        if _ended(left):
            with suppress(OSError):
                left.rmdir()


@contextmanager
def inside(cgroup: Path) -> Iterator[None]:
    """Move this process below a cgroup, unless it is in it; move it back at the end.

    Raises:
        KernelError: this process has no cgroup to move back to.
        OSError: this process cannot be moved.
    """
    ours = own_cgroup()
    if ours is not None and ours.is_relative_to(cgroup):
        yield
        return
    if ours is None:
        raise KernelError(f"this process has no cgroup to move back to from {cgroup}")
    scratch = cgroup / f"{PREFIX}{os.getpid()}"
    scratch.mkdir()
    try:
        (scratch / "cgroup.procs").write_text(f"{os.getpid()}", encoding="ascii")
        try:
            yield
        finally:
            (ours / "cgroup.procs").write_text(f"{os.getpid()}", encoding="ascii")
    finally:
        scratch.rmdir()


def own_cgroup() -> Path | None:
    """Return this process's cgroup v2 directory; None if it cannot be seen."""
    lines = Path("/proc/self/cgroup").read_bytes().splitlines()
    found = [os.fsdecode(line[3:]) for line in lines if line.startswith(b"0::")]
    for mount in mounts():
        if mount.kind == "cgroup2" and mount.root == "/" and found:
            directory = mount.point / found[0].lstrip("/")
            if directory.is_dir():
                return directory
    return None


def _ended(left: Path) -> bool:
    pid = left.name.removeprefix(PREFIX)
    return not Path("/proc", pid).exists()
