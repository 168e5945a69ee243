"""Opens, enters and lists network namespaces.

Only small modules of the standard library are imported, because the helper uses this.
"""

import ctypes
import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NSFS_MAGIC = 0x6E736673
_CLONE_NEWNET = 0x40000000
_STATFS_BYTES = 256  # struct statfs is smaller everywhere; its first word is the type

_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def enter(path: str) -> None:
    """Move this thread into a network namespace, for good.

    By libc, because os.setns is there only since Python 3.12.

    Raises:
        OSError: it is not there, is something else (EINVAL), or may not be entered.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = open_namespace(path)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            if number == errno.EINVAL:
                raise OSError(number, "it is a namespace of another kind")
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def open_namespace(path: str) -> int:
    """Open a namespace; open nothing else, because a FIFO would wait for a writer.

    Raises:
        OSError: EINVAL where something else is at `path`; it says what.
    """
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)  # opens nothing, only finds it
    try:
        if _file_system(place) != _NSFS_MAGIC:
            kind = _KINDS.get(stat.S_IFMT(os.fstat(place).st_mode), "something else")
            raise OSError(errno.EINVAL, f"it is {kind} and no namespace")
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)


def _file_system(descriptor: int) -> int:
    """Return the magic number of the file system that a descriptor is on."""
    libc = ctypes.CDLL(None, use_errno=True)
    status = (ctypes.c_long * (_STATFS_BYTES // ctypes.sizeof(ctypes.c_long)))()
    if libc.fstatfs(descriptor, ctypes.byref(status)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(status[0])


def all_namespaces() -> "Iterator[str | None]":
    """Yield one path for each network namespace with a process; None is our own."""
    yield None
    seen = {_inode("/proc/thread-self/ns/net")}
    for process in os.listdir("/proc"):  # noqa: PTH208  # pathlib weighs 2 MB
        if process.isdigit():
            path = f"/proc/{process}/ns/net"
            inode = _inode(path)
            if inode is not None and inode not in seen:
                seen.add(inode)
                yield path


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116
    except OSError:  # gone meanwhile, or we may not look
        return None
