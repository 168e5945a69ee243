"""`HostLock`: our directory in bpffs, locked by the one process that writes there.

If every user may write to bpffs, any of them could make the directory before us. So a
directory that another user made is refused.
"""

import fcntl
import os
import stat
from pathlib import Path
from typing import Self

from consul_ebpf.base.steps import step
from consul_ebpf.kernel import host
from consul_ebpf.model.errors import AlreadyRunningError, BpffsError, PrivilegeError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o700


class HostLock:
    """A directory, and the lock (flock) on it. Use it with `with`, or `lock`."""

    def __init__(self, root: Path) -> None:
        """Name the directory; nothing is made or locked yet."""
        self.root = root
        self._lock = -1

    def __repr__(self) -> str:
        locked = "locked" if self._lock >= 0 else "not locked"
        return f"<{type(self).__name__} {self.root} {locked}>"

    def lock(self) -> None:
        """Make the directory and lock it, until `unlock` or this process's end.

        If it was locked before, the directory that is there now is locked instead.

        Raises:
            AlreadyRunningError: another process has locked it; the message names it.
            BpffsError: it cannot be made, or another user made it.
            PrivilegeError: this process may not make or open it.
        """
        step("make the directory")
        try:
            if not self.root.is_symlink():
                self.root.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self.root, _DIRECTORY)
        except PermissionError as error:
            raise PrivilegeError(
                f"{self.root} cannot be used: run as root ({error.strerror})"
            ) from error
        except OSError as error:
            raise BpffsError(f"{self.root} cannot be made: {error.strerror}") from error
        try:
            _close_to_others(self.root, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(fd)
            if not isinstance(error, BlockingIOError):
                raise
            raise AlreadyRunningError(
                f"another controller (pid {self.holder()}) holds this "
                f"host by {self.root}: stop it first, or set another kernel.bpffs"
            ) from error
        self.unlock()
        self._lock = fd

    def unlock(self) -> None:
        """Let another process lock it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        self.lock()
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()

    def in_place(self) -> bool:
        """Whether the directory at `root` is still the one that was locked."""
        try:
            there = self.root.stat()
        except OSError:
            return False
        ours = os.fstat(self._lock)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def holder(self) -> int | None:
        """Return the pid of the process that has locked it; None if none has."""
        return host.lock_holder(self.root)


def _close_to_others(root: Path, fd: int) -> None:
    """Refuse a directory that another user made, and let no other user open ours.

    Whoever can open it can hold its lock.

    Raises:
        BpffsError: another user made it.
    """
    status = os.fstat(fd)
    check_owner(root, status)
    if stat.S_IMODE(status.st_mode) != _MODE and status.st_uid == os.geteuid():
        os.fchmod(fd, _MODE)


def check_owner(root: Path, status: os.stat_result) -> None:
    """Raise `BpffsError` if neither root nor this user owns our directory.

    Its owner can hold its lock, and replace what is pinned in it.
    """
    if status.st_uid not in {0, os.geteuid()}:
        raise BpffsError(
            f"{root} belongs to user {status.st_uid}, who made it before a controller "
            f"could: remove it, and let only root write to {root.parent}: "
            f"mount -o remount,mode=700 {root.parent}"
        )
