"""Digests for each of many directories, in one table."""

from collections.abc import Iterable, Mapping

_ROWS = 1 << 60
"""Python keeps a number below this in 32 bytes, and a larger one in 48."""


class Digests:
    """Remembers some digests of a fixed size for each directory.

    There may be 65,536 directories, so those of one are remembered together: about 170
    bytes for each. One thread may read while another writes.

    Args:
        sizes: the bytes of each digest, by its name.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._at: dict[str, tuple[int, int]] = {}
        """Where each digest begins and ends."""
        end = 0
        for name, size in sizes.items():
            self._at[name] = end, end + size
            end += size
        self._nothing = bytes(end)
        self._known: dict[int, bytes] = {}
        """By a directory's number, its digests, each at its place."""

    def __repr__(self) -> str:
        return f"<Digests of {len(self._known)} directories>"

    def read(self, directory: str, name: str) -> bytes:
        """Return a digest; zeros: it is not known."""
        begin, end = self._at[name]
        return self._known.get(_row(directory), self._nothing)[begin:end]

    def note(self, directory: str, name: str, digest: bytes) -> None:
        """Remember a digest."""
        begin, end = self._at[name]
        known = self._known.get(_row(directory), self._nothing)
        self._known[_row(directory)] = known[:begin] + digest + known[end:]

    def forget(self, directory: str, name: str) -> None:
        """Forget a digest, if it is known."""
        begin, end = self._at[name]
        if _row(directory) in self._known:
            self.note(directory, name, bytes(end - begin))

    def keep_only(self, directories: Iterable[str]) -> None:
        """Forget the digests of all other directories than these."""
        for gone in set(self._known).difference(map(_row, directories)):
            del self._known[gone]


def _row(directory: str) -> int:
    """Return the number that stands for a directory."""
    return hash(directory) % _ROWS
