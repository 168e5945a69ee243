"""Pods of this node that still run consul-dataplane: the webhook did not rewrite them.

They are found by their processes, so no access to the API server is needed; but the
host's processes must be seen (`hostPID`).
"""

import re
from collections import Counter
from pathlib import Path

PROGRAM = "consul-dataplane"

_NAMES = frozenset({PROGRAM.encode(), f"privileged-{PROGRAM}".encode()})

_UID = re.compile(
    r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
)


def find_remaining(proc: Path = Path("/proc")) -> Counter[str]:
    """Return how many such processes each pod has, by the pod's uid. It blocks."""
    found: Counter[str] = Counter()
    for directory in proc.glob("[0-9]*"):
        try:
            # The second one: an init process of the container or a shell comes first.
            arguments = (directory / "cmdline").read_bytes().split(b"\0", 2)[:2]
            if _NAMES.isdisjoint(each.rpartition(b"/")[2] for each in arguments):
                continue
            if uid := pod_of((directory / "cgroup").read_text("utf-8", "replace")):
                found[uid] += 1
        except OSError:  # it has ended
            continue
    return found


def pod_of(cgroup: str) -> str:
    """Return the uid of the pod that a /proc/PID/cgroup names; empty: it is of none."""
    named = _UID.search(cgroup)
    return named[1].replace("_", "-") if named else ""
