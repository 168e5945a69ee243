"""What the proxies' files hold, so that a file is only written when that changes.

The files belong to `bootstrap.owner`, and a controller that gave up its privileges
cannot read another user's files. It reads them all before, and afterwards tells by a
file's times that it is unchanged.
"""

import hashlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.base.reading import Fingerprint, fingerprint_of

LIMIT = 16 * 1024 * 1024
"""Bytes. A larger file is none of ours."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Whose a file is, and who may read it."""

    owner: tuple[int, int] | None = None
    """uid and gid; None: this process's own."""
    mode: int = 0o600


class Holdings:
    """Remembers digests of our files, with the fingerprints they were read at."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Fingerprint, bytes]] = {}

    def __repr__(self) -> str:
        return f"<Holdings of {len(self._known)} files>"

    def holds(self, path: Path, data: bytes, kind: Kind) -> bool:
        """Whether the file at `path` already is as it would be written."""
        seen = self._look(path, len(data), kind)
        if seen is None:
            self._known.pop(path, None)
            return False
        if path not in self._known or self._known[path][0] != seen:
            self.learn(path)
        known = self._known.get(path)
        return known is not None and known == (seen, _digest(data))

    def learn(self, path: Path) -> None:
        """Read a file, if this process may, and remember what it holds."""
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
                self._known[path] = (fingerprint_of(status), _digest(data))

    def wrote(self, path: Path, data: bytes, kind: Kind) -> None:
        """Remember what was just written to a file."""
        seen = self._look(path, len(data), kind)
        if seen is not None:
            self._known[path] = (seen, _digest(data))

    def keep_only(self, directories: Collection[Path]) -> None:
        """Forget the files in other directories than these."""
        for path in [each for each in self._known if each.parent not in directories]:
            del self._known[path]

    def _look(self, path: Path, size: int, kind: Kind) -> Fingerprint | None:
        """Return a file's fingerprint; None: it has another size, mode or owner."""
        try:
            status = path.lstat()
        except OSError:
            return None
        uid, gid = kind.owner or (os.geteuid(), status.st_gid)
        ours = (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == kind.mode
            and (status.st_uid, status.st_gid) == (uid, gid)
            and status.st_size == size
        )
        return fingerprint_of(status) if ours else None


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
