"""Whose files are still as they were written: looked at a slice of them at a time.

A round does not read the files of a proxy of which nothing has changed. This notices
that somebody else removed or changed one.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from consul_ebpf.base.reading import Fingerprint, fingerprint_of
from consul_ebpf.envoy.digests import Digests

SLICES = 30
"""Looks after which the files of all proxies were looked at once."""
AT_LEAST = 100
"""Proxies looked at each time, at least."""
LOOK = "look"
LOOK_BYTES = 8
"""Of what a look at all files of a proxy gave, among the digests of its directory."""


class Directories(Protocol):
    """Knows where the files of each proxy are."""

    def keys(self) -> list[str]:
        """Return the proxies' keys."""

    def directory_of(self, key: str) -> str:
        """Return the directory of a proxy's files."""


@dataclass(frozen=True, slots=True)
class WrongFiles:
    """Whose files were other ones at a look, by key."""

    keys: frozenset[str]
    look: int
    """Counts: what was found wrong once may be so again."""


class RightFiles:
    """Remembers what a look at each proxy's files gave when they were right. Blocking.

    One thread may look while another writes: what is being written may be taken for
    wrong, and is then written once more if it is.

    Args:
        names: of the files in each proxy's directory.
        digests: has one of `LOOK_BYTES` under the name `LOOK`.
        directories: knows which proxies to look at.
        lstat: looks at one path.
    """

    def __init__(
        self,
        names: Collection[str],
        digests: Digests,
        directories: Directories,
        lstat: Callable[[str], os.stat_result] = os.lstat,
    ) -> None:
        self._names = tuple(names)
        self._digests = digests
        self._directories = directories
        self._lstat = lstat
        self._looks = 0
        self._count = 0
        """How many are looked at each time in this turn."""
        self._turn: list[str] = []
        """Keys that are still to be looked at in this turn; the last ones are next."""

    def __repr__(self) -> str:
        return f"<RightFiles {self._digests!r}>"

    def keep(self, key: str) -> None:
        """Remember that a proxy's files are right as they are now."""
        directory = self._directories.directory_of(key)
        self._digests.note(directory, LOOK, self._look(directory))

    def forget(self, key: str) -> None:
        """Stop looking at a proxy's files."""
        self._digests.forget(self._directories.directory_of(key), LOOK)

    def next_wrong(self) -> WrongFiles | None:
        """Look at the next slice; None if all in it is right."""
        if not self._turn:
            self._turn = self._directories.keys()
            self._count = max(AT_LEAST, len(self._turn) // SLICES + 1)
        slice_, self._turn = self._turn[-self._count :], self._turn[: -self._count]
        self._looks += 1
        wrong = frozenset(each for each in slice_ if self._is_wrong(each))
        return WrongFiles(wrong, self._looks) if wrong else None

    def _is_wrong(self, key: str) -> bool:
        """Whether a look gives something else than when the files were right."""
        directory = self._directories.directory_of(key)
        right = self._digests.read(directory, LOOK)
        return any(right) and right != self._look(directory)

    def _look(self, directory: str) -> bytes:
        """Return what changes when one of the files in a directory does."""
        seen: list[Fingerprint] = []
        for name in self._names:
            try:
                seen.append(fingerprint_of(self._lstat(f"{directory}/{name}")))
            except (OSError, ValueError):
                seen.append(())
        return hash(tuple(seen)).to_bytes(LOOK_BYTES, "little", signed=True)
