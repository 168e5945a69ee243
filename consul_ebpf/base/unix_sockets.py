"""Unix sockets that outlive who made them: whose one is, and which one may go."""

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path

from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reading import kind_of
from consul_ebpf.model.errors import AlreadyRunningError, ConfigError

_UCRED = struct.Struct("3i")

Identity = tuple[int, int]
"""Device and inode: tells a socket from another one that was made at its path."""


def credentials(connection: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process at the other end of a unix socket."""
    pid, uid, _ = _UCRED.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    return pid, uid


def identity(path: Path) -> Identity:
    """Return which file is at a path.

    Raises:
        OSError: there is none.
    """
    status = path.lstat()
    return status.st_dev, status.st_ino


def remove(path: Path, made: Identity | None) -> None:
    """Remove a socket that we made, unless another one took its place."""
    with contextlib.suppress(OSError):
        if made is not None and made == identity(path):
            path.unlink()


def make_way(path: Path, key: str, otherwise: str) -> None:
    """Remove the socket of a process that was killed; anything else is left.

    Args:
        path: where a socket is to be made.
        key: of the configuration, which made the path; for errors.
        otherwise: what to do if something else is there.

    Raises:
        ConfigError: no socket of ours is there.
        AlreadyRunningError: a process listens there.
        OSError: it cannot be looked at or removed.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    shown = one_line(path)
    if not stat.S_ISSOCK(status.st_mode):
        kind = kind_of(status.st_mode)
        raise ConfigError(
            f"{key}: {shown} is {kind}, which is left as it is; {otherwise}"
        )
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigError(
            f"{key}: {shown} is a socket of user {status.st_uid}, which is left"
            f" as it is; {otherwise}"
        )
    if (listener := _listener(path)) is not None:
        raise AlreadyRunningError(
            f"{key}: {listener} listens at {shown}, perhaps another controller:"
            f" stop it, or {otherwise}"
        )
    path.unlink()


def _listener(path: Path) -> str | None:
    """Return which process listens at a socket, in words; None: none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:  # its queue is full, it is of another type, ...
            return "somebody"
        return f"pid {credentials(probe)[0]}"
