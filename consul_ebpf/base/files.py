"""Writing files that others read while we write."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from consul_ebpf.model.errors import ConsulEbpfError

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of a half-written file. A process that is killed midway leaves one."""


def write_atomically(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    check: Callable[[int], None] | None = None,
) -> None:
    """Replace the content of `path` by `data`: a reader finds the old or the new one.

    The new content survives a power cut once this returns. A symbolic link at `path`
    is replaced, not followed. `mode` is exact, whatever the umask; `owner` is
    (uid, gid), None keeps the process's own. `check` is given the descriptor of the
    directory before anything is written there; what it raises is raised.

    Raises:
        ConsulEbpfError: the file could not be written; what was there stays.
    """
    # Opened once, so that all steps happen in the same directory even if somebody swaps
    # its path midway.
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error
    temporary = f".{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        if check is not None:
            check(directory)
        _write_new(temporary, data, mode, owner, directory)
        os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except BaseException as error:
        _unlink_if_there(temporary, directory)
        if isinstance(error, (OSError, ValueError)):
            raise _cannot_write(path, error) from error
        raise
    finally:
        os.close(directory)


def _write_new(
    name: str,
    data: bytes,
    mode: int,
    owner: tuple[int, int] | None,
    directory: int,
) -> None:
    """Create `name` in `directory`; nobody but us can read it before it is whole."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor, not a path
        file.write(data)
        file.flush()
        os.fchmod(descriptor, mode)  # while it is ours: later that needs CAP_FOWNER
        if owner is not None:
            os.fchown(descriptor, *owner)
        os.fsync(descriptor)


def _unlink_if_there(name: str, directory: int) -> None:
    # Not there: never made, or renamed already. The rest is beyond our help.
    with contextlib.suppress(OSError, ValueError):
        os.unlink(name, dir_fd=directory)


def _cannot_write(path: Path, error: OSError | ValueError) -> ConsulEbpfError:
    cause = error.strerror if isinstance(error, OSError) else str(error)
    return ConsulEbpfError(f"cannot write {str(path)!r}: {cause}")
