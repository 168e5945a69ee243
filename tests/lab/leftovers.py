"""Find what a run of tests, or the demo, left in the machine."""

import ctypes
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.lab.kubernetes import host
from tests.lab.processes import LabError
from tests.lab.scratch import PREFIX, cgroup2_mount, mounts, remove_cgroup

_PR_SET_CHILD_SUBREAPER = 36
_LAB = re.compile(r"consul-ebpf-lab-(\d+)-")


def adopt_orphans() -> None:
    """Make processes whose parents end become this process's children.

    So that a grandchild left running is among the `Traces`.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def sweep() -> None:
    """Remove what labs left that were killed outright and could not clean up."""
    root = cgroup2_mount()
    for cgroup in root.glob("consul-ebpf-lab-*/") if root else ():
        if _dead(cgroup.name):
            remove_cgroup(cgroup)
    with suppress(LabError), host.only_one(patience=0):
        sweep_clusters()
    for directory in _dead_directories():
        if host.is_recorded(directory):
            continue  # a cluster runs, and what is left cannot be told from it
        if directory.is_mount():
            subprocess.run(["umount", "--lazy", directory], check=True)
        shutil.rmtree(directory)


def sweep_clusters() -> None:
    """Undo what clusters did that were killed outright; none may run meanwhile."""
    for directory in _dead_directories():
        host.restore(directory)


def _dead_directories() -> list[Path]:
    found = Path(tempfile.gettempdir()).glob("consul-ebpf-lab-*/")
    return [directory for directory in found if _dead(directory.name)]


@dataclass(frozen=True)
class Traces:
    """What there is of the kinds we make: children, and things named after us."""

    found: frozenset[str]
    of_clusters: frozenset[str] | None
    """What a cluster of Kubernetes could leave; None: that cannot be told."""

    @classmethod
    def now(cls) -> Self:
        """Look around."""
        found = frozenset([*_children(), *_mounts(), *_cgroups(), *_entries()])
        clusters = host.traces()
        return cls(found, None if clusters is None else frozenset(clusters))

    def left_since(self, patience: float = 3.0) -> list[str]:
        """Return what is new, but for what another lab that still runs made.

        What ends by itself within `patience` seconds is not left.
        """
        deadline = time.monotonic() + patience
        while True:
            now = self.now()
            new = sorted(now.found - self.found)
            if now.of_clusters is not None and self.of_clusters is not None:
                new += sorted(now.of_clusters - self.of_clusters)
            left = [trace for trace in new if not _someone_elses(trace)]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)


def _children() -> list[str]:
    tasks = Path("/proc/self/task").glob("*/children")
    pids = [pid for task in tasks for pid in task.read_text().split()]
    commands = {pid: _command(pid) for pid in pids}
    return [f"process {pid} ({what})" for pid, what in commands.items() if what]


def _command(pid: str) -> str:
    """Return its command line; empty for one that has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return ""
    return " ".join(words).strip()[:100]


def _mounts() -> list[str]:
    rows = [line.split() for line in mounts()]
    return [
        f"mount {row[1]} ({row[2]})"
        for row in rows
        if row[2] == "bpf" or "consul-ebpf" in row[1]
    ]


def _cgroups() -> list[str]:
    root = cgroup2_mount()
    return [f"cgroup {at}" for at in root.rglob("*consul-ebpf*/")] if root else []


def _entries() -> list[str]:
    """List pins, named network namespaces and temporary directories."""
    temporary = tempfile.gettempdir()
    kinds = {"pin": "/sys/fs/bpf", "netns": "/run/netns", "directory": temporary}
    return [
        f"{kind} {path}"
        for kind, folder in kinds.items()
        for path in Path(folder).glob("*consul-ebpf*")
    ]


def _someone_elses(trace: str) -> bool:
    return PREFIX not in trace and bool(_LAB.search(trace)) and not _dead(trace)


def _dead(name: str) -> bool:
    """Whether a lab's name carries the pid of a process that is no more."""
    lab = _LAB.search(name)
    return lab is not None and not Path(f"/proc/{lab[1]}").exists()
