"""Which feature needs which capability, and which of them a running controller keeps.

Tables, links and pins are reached by descriptors opened before, in directories that are
the controller's own; other network namespaces by a helper: so it keeps next to nothing.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

NEEDED = {
    "load, attach and start": frozenset({"sys_admin"}),
    "cut connections to dead servers": frozenset({"net_admin"}),
    "... and bind VIPs, in other network namespaces": frozenset(
        {"sys_admin", "sys_ptrace"}
    ),
}
"""At the start, by feature. CAP_BPF is not enough to load: BCC opens pinned tables by
their ids."""

FILES = ("chown", "fowner", "dac_override")
"""What writing files for another user needs."""


def to_keep(
    owner: tuple[int, int] | None, read: Iterable[str], uid: int
) -> Mapping[str, str]:
    """Return the capabilities to keep, each with its reason.

    Args:
        owner: uid and gid the bootstraps are written for; None: our own.
        read: paths that are to be read again and again; empty ones are left out.
        uid: ours.
    """
    kept = {}
    if owner is not None and owner[0] != uid:
        kept = dict.fromkeys(FILES, f"bootstrap.owner is uid {owner[0]}")
    for path in filter(None, read):
        if "dac_override" not in kept and not readable(Path(path), uid):
            kept["dac_read_search"] = f"{path} is closed to uid {uid}"
    return kept


def readable(path: Path, uid: int) -> bool:
    """Whether a user may read a file by its permissions alone; one to come: yes."""
    try:
        for directory in reversed(path.resolve().parents):
            if not _may(directory.stat(), uid, stat.S_IXUSR):
                return False
        return _may(path.stat(), uid, stat.S_IRUSR)
    except OSError:
        return True


def _may(status: os.stat_result, uid: int, bit: int) -> bool:
    if status.st_uid == uid:
        return bool(status.st_mode & bit)
    if status.st_gid in os.getgroups():
        return bool(status.st_mode & bit >> 3)
    return bool(status.st_mode & bit >> 6)
