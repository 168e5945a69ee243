"""A proxy's directory: made, emptied of what is ours, removed. Blocking."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from consul_ebpf.base.files import TEMPORARY_SUFFIX
from consul_ebpf.model.errors import ConsulEbpfError

BOOTSTRAP = "bootstrap.json"
TOKEN = "token.json"  # noqa: S105  # a file's name
TLS_CA = "tls-ca.json"
TLS_CERT = "tls-cert.json"
_TOP_MODE = 0o711
"""All users may pass through to their files, and nobody may list the proxies."""
_PROXY_MODE = 0o755
"""Envoy must be able to read the directory, to watch it for new certificates."""
OURS = (BOOTSTRAP, TOKEN, TLS_CA, TLS_CERT)


def remove_files(directory: Path, *, stays: bool = False) -> bool:
    """Remove what is ours in a directory, and the directory if that was all.

    A directory that is not there is no error. With `stays`, the directory is left.

    Returns:
        Whether there was anything of ours.

    Raises:
        ConsulEbpfError: a file of ours could not be removed.
    """
    if directory.is_symlink():
        return False  # it leads to somebody else's files
    try:
        ours = [path for path in directory.iterdir() if _is_ours(path)]
        for path in ours:
            path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConsulEbpfError(
            f"cannot remove the files in {str(directory)!r}: {error.strerror}"
        ) from error
    if not stays:
        with contextlib.suppress(OSError):  # something else is in it
            directory.rmdir()
    return bool(ours)


def keys_in(top: Path) -> Iterator[str]:
    """Yield the names in the bootstraps' directory that may be proxies' keys.

    What begins with a dot is no proxy's, and may be empty for a moment.

    Raises:
        ConsulEbpfError: the directory cannot be looked through.
    """
    try:
        with os.scandir(top) as entries:  # a Path for each costs more
            yield from (each.name for each in entries if each.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConsulEbpfError(
            f"cannot look through {str(top)!r}: {error.strerror}"
        ) from error


def _is_ours(path: Path) -> bool:
    """Whether a file is ours, or what a controller that was killed left of one."""
    return path.name in OURS or (
        path.name.startswith(tuple(f".{name}." for name in OURS))
        and path.name.endswith(TEMPORARY_SUFFIX)
    )


def is_directory(path: Path) -> bool:
    """Whether a path is a directory, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def make_directory(directory: Path, top: Path) -> None:
    """Make a proxy's directory, and before it `top` if it is in there.

    Raises:
        ConsulEbpfError: it cannot be made, or something else is in its place.
    """
    if directory.parent == top:
        _make(top.resolve(), _TOP_MODE)
    _make(directory, _PROXY_MODE)


def _make(path: Path, mode: int) -> None:
    """Make a directory with exactly `mode`; one that is there stays as it is."""
    try:
        path.mkdir(mode)
        path.chmod(mode)  # what the umask took away
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise ConsulEbpfError(
                f"{str(path)!r} is in the way of a directory; remove it"
            ) from None
    except OSError as error:
        raise ConsulEbpfError(
            f"cannot make the directory {str(path)!r}: {error.strerror}"
        ) from error
