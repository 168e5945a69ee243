"""Digests for each of many directories, in one table."""

from collections.abc import Iterable, Mapping


class Digests:
    """Remembers some digests of a fixed size for each directory.

    There may be 65,536 directories, so those of one are remembered together: about 180
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
        """By the hash of a directory's path, its digests, each at its place."""

    def __repr__(self) -> str:
        return f"<Digests of {len(self._known)} directories>"

    def read(self, directory: str, name: str) -> bytes:
        """Return a digest; zeros: it is not known."""
        begin, end = self._at[name]
        return self._known.get(hash(directory), self._nothing)[begin:end]

    def note(self, directory: str, name: str, digest: bytes) -> None:
        """Remember a digest."""
        begin, end = self._at[name]
        known = self._known.get(hash(directory), self._nothing)
        self._known[hash(directory)] = known[:begin] + digest + known[end:]

    def forget(self, directory: str, name: str) -> None:
        """Forget a digest, if it is known."""
        begin, end = self._at[name]
        if hash(directory) in self._known:
            self.note(directory, name, bytes(end - begin))

    def keep_only(self, directories: Iterable[str]) -> None:
        """Forget the digests of all other directories than these."""
        for gone in set(self._known).difference(map(hash, directories)):
            del self._known[gone]
