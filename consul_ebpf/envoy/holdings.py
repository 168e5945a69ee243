"""What our files hold, remembered: so one that we may not read is not written again.

The files belong to `bootstrap.owner`, and a controller that has given up its
privileges cannot read another user's. It read them all before, and knows by a file's
times that it still is the one it knows.
"""

import hashlib
import os
import stat
from collections.abc import Collection
from pathlib import Path

from consul_ebpf.base.reading import Fingerprint

Owner = tuple[int, int] | None
"""(uid, gid) a file belongs to; None: this process's own."""

LIMIT = 16 * 1024 * 1024
"""Bytes of a file of ours; a larger one is not."""


class Holdings:
    """Digests of our files, with what tells other files from them.

    Args:
        mode: that our files have.
    """

    def __init__(self, mode: int) -> None:
        self._mode = mode
        self._known: dict[Path, tuple[Fingerprint, bytes]] = {}

    def __repr__(self) -> str:
        return f"<Holdings of {len(self._known)} files>"

    def holds(self, path: Path, data: bytes, owner: Owner) -> bool:
        """Whether `path` is already the file we would write."""
        seen = self._look(path, len(data), owner)
        if seen is None:
            self._known.pop(path, None)
            return False
        if path not in self._known or self._known[path][0] != seen:
            self.learn(path)
        known = self._known.get(path)
        return known is not None and known == (seen, _digest(data))

    def learn(self, path: Path) -> None:
        """Read a file, if we may, and remember what it holds."""
        self._known.pop(path, None)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except OSError:  # a directory or a link among them
            return
        with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor, not a path
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_size <= LIMIT:
                data = file.read(LIMIT)
                self._known[path] = (_fingerprint(status), _digest(data))

    def wrote(self, path: Path, data: bytes, owner: Owner) -> None:
        """Remember what was just written."""
        seen = self._look(path, len(data), owner)
        if seen is not None:
            self._known[path] = (seen, _digest(data))

    def keep_only(self, directories: Collection[Path]) -> None:
        """Forget the files in other directories than these."""
        for path in [each for each in self._known if each.parent not in directories]:
            del self._known[path]

    def _look(self, path: Path, size: int, owner: Owner) -> Fingerprint | None:
        """Return a file's fingerprint if it has size, mode and owner of ours."""
        try:
            status = path.lstat()
        except OSError:
            return None
        uid, gid = owner or (os.geteuid(), status.st_gid)
        ours = (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == self._mode
            and (status.st_uid, status.st_gid) == (uid, gid)
            and status.st_size == size
        )
        return _fingerprint(status) if ours else None


def _fingerprint(status: os.stat_result) -> Fingerprint:
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, *times


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
