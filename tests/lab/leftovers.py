"""Find what a run of tests, or the demo, left in the machine."""

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.lab.scratch import PREFIX, cgroup2_mount

_PR_SET_CHILD_SUBREAPER = 36
_LAB = re.compile(r"consul-ebpf-lab-(\d+)-")


def adopt_orphans() -> None:
    """Make processes whose parents end become this process's children.

    So that a grandchild left running is among the `Traces`.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@dataclass(frozen=True)
class Traces:
    """What there is of the kinds we make: children, and things named after us."""

    found: frozenset[str]

    @classmethod
    def now(cls) -> Self:
        """Look around."""
        return cls(frozenset([*_children(), *_mounts(), *_cgroups(), *_entries()]))

    def since(self, before: Self) -> list[str]:
        """Return what is new, but for what another lab that still runs made."""
        new = sorted(self.found - before.found)
        return [trace for trace in new if not _someone_elses(trace)]


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
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
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
    kinds = {"pin": "/sys/fs/bpf", "netns": "/run/netns", "directory": "/tmp"}
    return [
        f"{kind} {path}"
        for kind, folder in kinds.items()
        for path in Path(folder).glob("*consul-ebpf*")
    ]


def _someone_elses(trace: str) -> bool:
    lab = _LAB.search(trace)
    if PREFIX in trace or not lab:
        return False
    return Path(f"/proc/{lab[1]}").exists()
