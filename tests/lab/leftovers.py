"""Find what a run of tests left in the machine."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.lab.scratch import PREFIX, cgroup2_mount

_LAB = re.compile(r"consul-ebpf-lab-(\d+)-")


@dataclass(frozen=True)
class Traces:
    """Everything of the kinds that our tests make, whoever made it."""

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
    return [f"process {pid} ({_command(pid)})" for pid in pids]


def _command(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return "gone"
    return " ".join(words).strip()[:100] or "zombie"


def _mounts() -> list[str]:
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [f"mount {row[1]} ({row[2]})" for row in rows]


def _cgroups() -> list[str]:
    root = cgroup2_mount()
    return [f"cgroup {path}" for path in root.rglob("*/")] if root else []


def _entries() -> list[str]:
    """List pins, named network namespaces and our own temporary directories."""
    folders = [("pin", Path("/sys/fs/bpf"), "*"), ("netns", Path("/run/netns"), "*")]
    folders.append(("directory", Path("/tmp"), "consul-ebpf*"))
    return [f"{kind} {path}" for kind, at, glob in folders for path in at.glob(glob)]


def _someone_elses(trace: str) -> bool:
    lab = _LAB.search(trace)
    if PREFIX in trace or not lab:
        return False
    return Path(f"/proc/{lab[1]}").exists()
