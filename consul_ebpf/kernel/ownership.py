"""Whose our directory in bpffs is: on a world-writable one anybody may have made it."""

import os
import stat
from pathlib import Path

from consul_ebpf.model.errors import BpffsError

_MODE = 0o700


def close_to_others(root: Path, fd: int) -> None:
    """Refuse a directory that another user made, and let nobody else open ours.

    Whoever may open it can hold its lock.

    Raises:
        BpffsError: another user made it.
    """
    status = os.fstat(fd)
    check_owner(root, status)
    if stat.S_IMODE(status.st_mode) != _MODE and status.st_uid == os.geteuid():
        os.fchmod(fd, _MODE)


def check_owner(root: Path, status: os.stat_result) -> None:
    """Raise `BpffsError` if neither root nor this user owns our directory.

    Who owns it can hold its lock, and exchange what is pinned in it.
    """
    if status.st_uid not in {0, os.geteuid()}:
        raise BpffsError(
            f"{root} belongs to user {status.st_uid}, who made it before a controller "
            f"could: remove it, and let only root write to {root.parent}: "
            f"mount -o remount,mode=700 {root.parent}"
        )
