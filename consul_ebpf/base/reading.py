"""The one reader of files that somebody else can write.

Tokens, certificates, drop-ins and state files go through `read_file`. It never blocks
on a FIFO, never reads a device, never takes more than its limit into memory, and does
not follow a link that leads from one user's directory to another user's file.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from consul_ebpf.base.lines import one_line
from consul_ebpf.model.errors import ConsulEbpfError

Fingerprint = tuple[int, ...]
"""Device, inode, size and times of a file. When it changes, the file is read again."""

MAX_LINKS = 40
"""Symbolic links followed on the way to one file: the kernel's own limit."""

_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class FileError(ConsulEbpfError):
    """A file cannot be used: one line with its path and the reason."""

    def __init__(
        self,
        path: str | Path,
        why: str,
        *,
        missing: bool = False,
        denied: bool = False,
    ) -> None:
        super().__init__(f"{one_line(path)}: {why}")
        self.why = why
        """The reason alone."""
        self.missing = missing
        """Whether nothing is there."""
        self.denied = denied
        """Whether a process with more privileges may succeed."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file held, and the fingerprint that tells later whether it changed."""

    data: bytes
    fingerprint: Fingerprint


def fingerprint(path: str | Path) -> Fingerprint:
    """Return a file's fingerprint without opening it; links are followed.

    Raises:
        FileError: it is not there, cannot be looked at, or is no regular file.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  # a str may come, too
    except (OSError, ValueError) as error:
        raise _refused(path, error) from error
    _check_kind(path, status)
    return fingerprint_of(status)


def read_file(path: str | Path, limit: int) -> Content:
    """Read a regular file of at most `limit` bytes.

    A symbolic link on the way is followed only if root, this process's user or the
    file's own owner made it. Otherwise a workload could replace its own token's file by
    a link, and the controller, which may read more, would read another one's secret.

    Raises:
        FileError: it is not there, not readable, no regular file, larger than `limit`,
            or behind a link that somebody else made.
    """
    try:
        descriptor = _open(Path(path))
    except (OSError, ValueError) as error:
        raise _refused(path, error) from error
    with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor, not a path
        try:
            status = os.fstat(descriptor)
            _check_kind(path, status)
            data = file.read(limit + 1)
        except OSError as error:
            raise _refused(path, error) from error
    if len(data) > limit:
        raise FileError(path, f"is larger than the {limit} bytes that are read of it")
    return Content(data, fingerprint_of(status))


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return the fingerprint of a file that `stat` looked at."""
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, *times


def kind_of(mode: int) -> str:
    """Return what a file of this mode is, in words: `a FIFO`."""
    return _KINDS.get(stat.S_IFMT(mode), "no file")


def _check_kind(path: str | Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = kind_of(status.st_mode)
        raise FileError(path, f"is {kind}; a regular file is needed")


def _refused(path: str | Path, error: OSError | ValueError) -> FileError:
    if not isinstance(error, OSError):
        return FileError(path, "is no path: it holds a NUL or is not Unicode text")
    return FileError(
        path,
        error.strerror or str(error),
        missing=error.errno in {errno.ENOENT, errno.ENOTDIR},
        denied=error.errno in {errno.EACCES, errno.EPERM},
    )


class Reader(Protocol):
    """Reads files: this process itself, or with the help of one that may read more."""

    def fingerprint(self, path: str | Path) -> Fingerprint:
        """Return a file's fingerprint; see `fingerprint`."""
        ...

    def read(self, path: str | Path, limit: int) -> Content:
        """Read a file; see `read_file`."""
        ...


class PlainReader:
    """Reads what this process may read."""

    def __repr__(self) -> str:
        return "<PlainReader>"

    def fingerprint(self, path: str | Path) -> Fingerprint:
        """Return a file's fingerprint; see `fingerprint`."""
        return fingerprint(path)

    def read(self, path: str | Path, limit: int) -> Content:
        """Read a file; see `read_file`."""
        return read_file(path, limit)


PLAIN = PlainReader()


def _open(path: Path) -> int:
    """Open a file for reading; check who made the links that lead there."""
    links, parent, name = _walk(path)
    try:
        # Looked at before it is opened: opening a device may do something.
        before = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not links or not stat.S_ISREG(before.st_mode):
            _check_kind(path, before)
        trusted = {0, os.geteuid(), before.st_uid}
        for link, owner in links:
            if owner not in trusted:
                raise FileError(
                    path,
                    f"user {owner} made the link {one_line(link)} on the way to a file"
                    f" of user {before.st_uid}; name the file itself, or have its"
                    " owner or root make the link",
                )
        _check_kind(path, before)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=parent)
    finally:
        os.close(parent)


def _walk(path: Path) -> tuple[list[tuple[str, int]], int, str]:
    """Follow a path one name at a time.

    Each step starts from an open directory, so that nobody can swap a directory between
    the check and the step.

    Returns:
        The links on the way, each with its owner's uid; a descriptor of the directory
        the file is in; and the file's name there.
    """
    rest = list(reversed(path.absolute().parts[1:]))
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    here = os.open("/", flags)
    links: list[tuple[str, int]] = []
    try:
        while True:
            if not rest:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            name = rest.pop()
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                if len(links) >= MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                links.append((name, status.st_uid))
                target = os.readlink(name, dir_fd=here)
                if not _is_magic(name, here):
                    parts = Path(target).parts
                    if target.startswith("/"):
                        os.close(here)
                        here = os.open("/", flags)
                        parts = parts[1:]
                    rest.extend(reversed(parts))
                    continue
                links.pop()  # the kernel's own: /proc/PID/root leads where PID is
                status = os.stat(name, dir_fd=here)
            if not rest:
                found, here = here, -1
                return links, found, name
            there = os.open(name, flags, dir_fd=here)
            os.close(here)
            here = there
    finally:
        if here >= 0:
            os.close(here)


def _is_magic(name: str, directory: int) -> bool:
    """Whether a link is one of procfs that no text describes, such as /proc/1/root."""
    try:
        proc = os.stat("/proc")  # noqa: PTH116
        link = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return link.st_dev == proc.st_dev and name not in {"self", "thread-self"}
