"""What stands where a file is expected: makes it at a path."""

import os
import socket
from pathlib import Path


def fifo(path: Path) -> None:
    """Whoever opens it waits."""
    os.mkfifo(path)


def zero(path: Path) -> None:
    """Whoever reads it to its end never gets there."""
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    """100 MB, without taking them."""
    with path.open("wb") as file:
        file.truncate(100 << 20)


def directory(path: Path) -> None:
    """A directory."""
    path.mkdir()


def listener(path: Path) -> None:
    """The socket of a server that is gone."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
