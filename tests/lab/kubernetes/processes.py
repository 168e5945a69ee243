"""Processes of a pod, as the host sees them."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.lab.kubernetes.api import Object
from tests.lab.processes import LabError
from tests.lab.scratch import Netns, cgroup2_mount


def pod_cgroup(pod: Object) -> Path:
    """Return the cgroup v2 directory of a pod.

    Raises:
        LabError: there is none.
    """
    root = cgroup2_mount()
    uid = pod["metadata"]["uid"]
    for found in root.glob(f"kubepods/**/pod{uid}") if root else ():
        return found
    raise LabError(f"pod {pod['metadata']['name']} has no cgroup")


def pids(pod: Object) -> dict[int, str]:
    """Return the processes of all of a pod's containers, with their command lines."""
    found = {}
    for file in pod_cgroup(pod).rglob("cgroup.procs"):
        for pid in file.read_text().split():
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
                found[int(pid)] = line.replace("\0", " ").strip()
    return found


def pid_of(pod: Object, words: str) -> int:
    """Return the first of a pod's processes whose command line has these words.

    Raises:
        LabError: none has.
    """
    there = pids(pod)
    for pid, line in sorted(there.items()):
        if words in line:
            return pid
    raise LabError(f"pod {pod['metadata']['name']} runs no {words!r}: {there}")


def kill(pod: Object, words: str) -> None:
    """SIGKILL one of a pod's processes."""
    os.kill(pid_of(pod, words), signal.SIGKILL)


def netns(pod: Object, words: str = "") -> Netns:
    """Return a pod's network namespace."""
    return Netns(pid_of(pod, words))


def all_named(words: str) -> list[int]:
    """Return the host's processes whose command line has these words."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if words in file.read_text(errors="replace").replace("\0", " "):
                found.append(int(file.parent.name))
    return found
