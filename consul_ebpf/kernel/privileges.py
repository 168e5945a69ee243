"""Which feature needs which capability, and which of them a running controller keeps.

It keeps almost none. It opened tables and links at its start, and owns the directories
of its pins. A helper enters other network namespaces, and reads other users' token
files.
"""

import os
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from consul_ebpf.model.errors import PrivilegeError

NEEDED = {
    "load, attach and start": frozenset({"sys_admin"}),
    "cut connections to dead servers": frozenset({"net_admin"}),
    "... and bind VIPs, in other network namespaces": frozenset(
        {"sys_admin", "sys_ptrace"}
    ),
    "read other users' token files": frozenset({"dac_read_search"}),
}
"""The capabilities needed at a start, by feature. CAP_BPF is not enough to load the
program, because BCC opens pinned tables by their ids."""

OWNER = ("write files for bootstrap.owner", frozenset({"chown"}))
"""The feature, and what it needs, if bootstrap.owner is set."""

VOLUMES = (
    "write files into pods' volumes",
    frozenset({"chown", "dac_override", "fowner"}),
)
"""The feature, and what it needs, if pods have volumes: their files belong to users of
the pods."""

_HELPER = {
    "dac_read_search": "to read other users' token files",
    "net_admin": "to cut connections",
    "sys_admin": "to enter network namespaces",
    "sys_ptrace": "to find them",
}


def of_helper(*, destroy_sockets: bool) -> Mapping[str, str]:
    """Return the capabilities that the helper keeps, each with its reason."""
    return {
        name: why
        for name, why in _HELPER.items()
        if destroy_sockets or name != "net_admin"
    }


def gives_away(owner: tuple[int, int] | None, uid: int) -> bool:
    """Whether `owner` (uid and gid) is not user `uid`, who writes the files."""
    if owner is None:
        return False
    ours = {os.getegid(), *os.getgroups()}
    return owner[0] != uid or owner[1] not in ours


def check_owner(owner: tuple[int, int] | None, uid: int, have: Collection[str]) -> None:
    """Refuse an owner to whom this process may not give files.

    Raises:
        PrivilegeError: CAP_CHOWN is missing.
    """
    if owner is not None and gives_away(owner, uid) and "chown" not in have:
        raise PrivilegeError(
            f"bootstrap.owner is uid {owner[0]}: giving it files needs CAP_CHOWN:"
            " grant it in the unit file, or leave out bootstrap.owner"
        )


def check_volumes(have: Collection[str]) -> None:
    """Refuse to serve pods' volumes without what their files need.

    Raises:
        PrivilegeError: capabilities are missing.
    """
    _, needed = VOLUMES
    if missing := sorted(needed - frozenset(have)):
        named = ", ".join(f"CAP_{name.upper()}" for name in missing)
        raise PrivilegeError(
            f"[kubernetes] needs {named} for the files in pods' volumes: add it to the"
            " container's capabilities, or set kubernetes.enabled = false"
        )


def to_keep(
    owner: tuple[int, int] | None,
    read: Iterable[str],
    uid: int,
    *,
    volumes: bool = False,
) -> Mapping[str, str]:
    """Return the capabilities that the controller keeps, each with its reason.

    Args:
        owner: uid and gid that own the bootstraps; None: this process's.
        read: paths of files that the controller itself reads again and again; empty
            ones are left out.
        uid: this process's.
        volumes: whether it writes into pods' volumes.
    """
    feature, needed = VOLUMES
    kept = dict.fromkeys(needed, f"to {feature}") if volumes else {}
    if owner is not None and gives_away(owner, uid):
        kept["chown"] = f"bootstrap.owner is uid {owner[0]}"
    for path in filter(None, read):
        if not readable(Path(path), uid):
            kept["dac_read_search"] = f"{path} is closed to uid {uid}"
    return kept


def in_words(ours: Mapping[str, str], helpers: Mapping[str, str]) -> str:
    """Return a line that says what the controller and its helper keep, and why."""
    kept = f"kept {_listed(ours)}; gave up all others" if ours else ""
    helper = f"the helper keeps {_listed(helpers) or 'none'}"
    return f"{kept or 'gave up all capabilities'}; {helper}"


def _listed(named: Mapping[str, str]) -> str:
    return ", ".join(f"CAP_{name.upper()} ({named[name]})" for name in sorted(named))


def readable(path: Path, uid: int) -> bool:
    """Whether a user may read a file without capabilities; True if there is no file."""
    try:
        for directory in reversed(path.resolve().parents):
            if not _may(directory.stat(), uid, stat.S_IXUSR):
                return False
        return _may(path.stat(), uid, stat.S_IRUSR)
    except (OSError, ValueError, RuntimeError):
        return True


def _may(status: os.stat_result, uid: int, bit: int) -> bool:
    if status.st_uid == uid:
        return bool(status.st_mode & bit)
    if status.st_gid in os.getgroups():
        return bool(status.st_mode & bit >> 3)
    return bool(status.st_mode & bit >> 6)
