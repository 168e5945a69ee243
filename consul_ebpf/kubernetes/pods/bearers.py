"""The pods' service account tokens, each in a file that a login reads. Blocking.

They are on the host in memory, in a directory that only the controller can enter: never
in the pod's volume, never on a disk.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.files import write_atomically
from consul_ebpf.base.reading import FileError, read_file
from consul_ebpf.kubernetes.pods.volume import MAX_TOKEN_BYTES
from consul_ebpf.model.errors import ConsulEbpfError

BEARERS = ".bearer"
"""The directory's name in the bootstraps' directory; no proxy's key begins so."""


class Bearers:
    """Writes and removes the files `<directory>/.bearer/<key>`."""

    def __init__(self, directory: Path) -> None:
        """Keep them in the bootstraps' `directory`."""
        self.directory = directory / BEARERS
        self._written: dict[str, bytes] = {}
        """A digest of what each file holds."""

    def __repr__(self) -> str:
        return f"<Bearers {self.directory}>"

    def write(self, key: str, token: str) -> None:
        """Write a pod's token unless its file holds it already.

        Raises:
            ConsulEbpfError: it cannot be written; what was there stays.
        """
        data = token.encode()
        digest = hashlib.sha256(data).digest()
        path = self.directory / key
        if self._written.get(key) == digest and path.exists():
            return
        if not self._holds(path, data):
            with boundary(ConsulEbpfError, f"cannot make {self.directory}"):
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.directory.chmod(0o700)
            write_atomically(path, data)
        self._written[key] = digest

    def remove(self, key: str) -> None:
        """Remove a pod's token; it may be gone."""
        self._written.pop(key, None)
        with boundary(ConsulEbpfError, f"cannot remove {self.directory / key}"):
            (self.directory / key).unlink(missing_ok=True)

    def keep_only(self, keys: Collection[str]) -> None:
        """Remove the tokens of all other pods, and what a kill left half-written."""
        with boundary(ConsulEbpfError, f"cannot look through {self.directory}"):
            there = list(self.directory.iterdir()) if self.directory.is_dir() else []
        for path in there:
            if path.name not in keys:
                self.remove(path.name)

    def _holds(self, path: Path, data: bytes) -> bool:
        try:
            return read_file(path, MAX_TOKEN_BYTES).data == data
        except FileError:
            return False
