"""Whose files are still as they were written: looked at a slice of them at a time.

A round does not read the files of a proxy of which nothing has changed. This notices
that somebody else removed or changed one.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

from consul_ebpf.base.reading import Fingerprint, fingerprint_of

SLICES = 30
"""Looks after which the files of all proxies were looked at once."""
AT_LEAST = 100
"""Proxies looked at each time, at least."""


@dataclass(frozen=True, slots=True)
class WrongFiles:
    """Whose files were other ones at a look, by key."""

    keys: frozenset[str]
    look: int
    """Counts: what was found wrong once may be so again."""


class RightFiles:
    """Remembers the fingerprints of each proxy's files when they were right. Blocking.

    One thread may look while another writes: what is being written may be taken for
    wrong, and is then written once more if it is.

    Args:
        names: of the files in each proxy's directory.
        directory_of: returns where the files of a proxy are, by its key.
        lstat: looks at one path.
    """

    def __init__(
        self,
        names: Collection[str],
        directory_of: Callable[[str], str],
        lstat: Callable[[str], os.stat_result] = os.lstat,
    ) -> None:
        self._names = tuple(names)
        self._directory_of = directory_of
        self._lstat = lstat
        self._seen: dict[str, int] = {}
        """By proxy key, `_look`'s number."""
        self._looks = 0
        self._turn: list[str] = []
        """Keys that are still to be looked at in this turn; the last ones are next."""

    def __repr__(self) -> str:
        return f"<RightFiles of {len(self._seen)} proxies>"

    def keep(self, key: str) -> None:
        """Remember that a proxy's files are right as they are now."""
        self._seen[key] = self._look(key)

    def forget(self, key: str) -> None:
        """Stop looking at a proxy's files."""
        self._seen.pop(key, None)

    def next_wrong(self) -> WrongFiles | None:
        """Look at the next slice; None if all in it is right."""
        count = max(AT_LEAST, len(self._seen) // SLICES + 1)
        if not self._turn:
            self._turn = list(self._seen)
        self._turn, slice_ = self._turn[:-count], self._turn[-count:]
        self._looks += 1
        wrong = frozenset(
            each
            for each in slice_
            if (seen := self._seen.get(each)) is not None and seen != self._look(each)
        )
        return WrongFiles(wrong, self._looks) if wrong else None

    def _look(self, key: str) -> int:
        """Return a number that changes when one of a proxy's files does."""
        directory = self._directory_of(key)
        seen: list[Fingerprint] = []
        for name in self._names:
            try:
                seen.append(fingerprint_of(self._lstat(f"{directory}/{name}")))
            except (OSError, ValueError):
                seen.append(())
        return hash(tuple(seen))
