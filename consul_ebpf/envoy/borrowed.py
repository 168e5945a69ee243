"""Directories that somebody else makes and removes, such as a pod's volume. Blocking.

They come and go while the controller writes. What was a mount is not written to without
its mount: the files would lie on the disk below it, where nobody looks for them.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from consul_ebpf.model.errors import ConsulEbpfError

_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotThereError(ConsulEbpfError):
    """The directory is not there, or not any more."""


class Borrowed:
    """Remembers which of these directories were mounts."""

    def __init__(self) -> None:
        self._mounts: set[str] = set()

    def __repr__(self) -> str:
        return f"<Borrowed {len(self._mounts)} mounts>"

    def check_path(self, directory: Path) -> None:
        """Check that a directory is there; see `check`.

        Raises:
            NotThereError: it is not, or it is a link.
        """
        try:
            descriptor = os.open(directory, _FLAGS)
        except (OSError, ValueError) as error:
            raise NotThereError(f"{str(directory)!r} is not there") from error
        try:
            self.check(directory, descriptor)
        finally:
            os.close(descriptor)

    def check(self, directory: Path, descriptor: int) -> None:
        """Check that a directory that was opened has its mount, if it ever had one.

        Raises:
            NotThereError: it has none any more.
        """
        above = os.stat("..", dir_fd=descriptor)
        if os.fstat(descriptor).st_dev != above.st_dev:
            self._mounts.add(str(directory))
        elif str(directory) in self._mounts:
            raise NotThereError(f"{str(directory)!r} is not mounted any more")

    def keep_only(self, directories: Iterable[str]) -> None:
        """Forget all other directories than these."""
        self._mounts.intersection_update(directories)
