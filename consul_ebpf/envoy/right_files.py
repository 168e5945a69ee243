"""Which proxies' files are still as we left them: looked at a slice at a time.

A round does not read the files of proxies of which nothing has changed. That somebody
else removed or changed one is seen by this.
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path

SLICES = 30
"""Looks in which all proxies' files are looked at once."""
AT_LEAST = 100
"""Proxies looked at each time."""


class RightFiles:
    """Remembers how each proxy's files looked when they were right. Blocking.

    Args:
        names: of the files in each proxy's directory.
        lstat: looks at one path.
    """

    def __init__(
        self,
        names: Collection[str],
        lstat: Callable[[str], os.stat_result] = os.lstat,
    ) -> None:
        self._names = tuple(names)
        self._lstat = lstat
        self._seen: dict[str, tuple[str, int]] = {}
        """By key, where a proxy's files are and what they looked like."""
        self._turn: list[str] = []
        """Whose turn it is, from the end; the others come when it is empty."""

    def __repr__(self) -> str:
        return f"<RightFiles of {len(self._seen)} proxies>"

    def keep(self, key: str, directory: Path) -> None:
        """Remember how a proxy's files look now."""
        self._seen[key] = str(directory), self._look(str(directory))

    def forget(self, key: str) -> None:
        """Look at a proxy's files no more."""
        self._seen.pop(key, None)

    def next_wrong(self) -> list[str]:
        """Look at the next slice; return the keys of whose files are other ones now."""
        count = max(AT_LEAST, len(self._seen) // SLICES + 1)
        if not self._turn:
            self._turn = list(self._seen)
        self._turn, slice_ = self._turn[:-count], self._turn[-count:]
        return [
            each
            for each in slice_
            if (seen := self._seen.get(each)) and seen[1] != self._look(seen[0])
        ]

    def _look(self, directory: str) -> int:
        """Return a number that is another as soon as one of the files is."""
        seen: list[tuple[int, ...]] = []
        for name in self._names:
            try:
                status = self._lstat(f"{directory}/{name}")
            except (OSError, ValueError):
                seen.append(())
                continue
            times = status.st_mtime_ns, status.st_ctime_ns
            seen.append((status.st_dev, status.st_ino, status.st_size, *times))
        return hash(tuple(seen))
