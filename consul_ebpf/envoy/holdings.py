"""What the proxies' files hold, so that a file is only written when that changes.

The files belong to `bootstrap.owner`, and a controller that gave up its privileges
cannot read another user's files. It reads them all before, and afterwards tells by a
file's times that it is unchanged.
"""

import hashlib
import os
import stat
from dataclasses import dataclass

from consul_ebpf.base.reading import Fingerprint, fingerprint_of
from consul_ebpf.envoy.digests import Digests

LIMIT = 16 * 1024 * 1024
"""Bytes. A larger file is none of ours."""

DIGEST_BYTES = 12


@dataclass(frozen=True, slots=True)
class Kind:
    """Whose a file is, and who may read it."""

    owner: tuple[int, int] | None = None
    """uid and gid; None: this process's own."""
    mode: int = 0o600


class Holdings:
    """Remembers a digest of each of our files: of its fingerprint and what it holds.

    Args:
        digests: has one of `DIGEST_BYTES` for each file, by its name.
    """

    def __init__(self, digests: Digests) -> None:
        self._digests = digests

    def __repr__(self) -> str:
        return f"<Holdings {self._digests!r}>"

    def holds(self, path: str, data: bytes, kind: Kind) -> bool:
        """Whether the file at `path` already is as it would be written."""
        seen = self._look(path, len(data), kind)
        if seen is None:
            self._note(path)
            return False
        wanted = _digest(seen, data)
        if self._noted(path) != wanted:
            self.learn(path)
        return self._noted(path) == wanted

    def learn(self, path: str) -> None:
        """Read a file, if this process may, and remember what it holds."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except OSError:  # a directory or a link among them
            self._note(path)
            return
        with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor, not a path
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_size <= LIMIT:
                data = file.read(LIMIT)
                self._note(path, _digest(fingerprint_of(status), data))
            else:
                self._note(path)

    def wrote(self, path: str, data: bytes, kind: Kind) -> None:
        """Remember what was just written to a file."""
        seen = self._look(path, len(data), kind)
        if seen is not None:
            self._note(path, _digest(seen, data))

    def _noted(self, path: str) -> bytes:
        directory, _, name = path.rpartition("/")
        return self._digests.read(directory, name)

    def _note(self, path: str, digest: bytes = bytes(DIGEST_BYTES)) -> None:
        """Remember the digest of a file; zeros: it is not known."""
        directory, _, name = path.rpartition("/")
        self._digests.note(directory, name, digest)

    def _look(self, path: str, size: int, kind: Kind) -> Fingerprint | None:
        """Return a file's fingerprint; None: it has another size, mode or owner."""
        try:
            status = os.lstat(path)
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


def _digest(seen: Fingerprint, data: bytes) -> bytes:
    digest = hashlib.blake2b(data, digest_size=DIGEST_BYTES)
    digest.update(repr(seen).encode())
    return digest.digest()
