"""Mounts and directories at the places where kubelet has pods' volumes. Blocking.

A volume is at `<kubelet directory>/pods/<uid>/volumes/kubernetes.io~csi/<name>/mount`.
The way there is walked by descriptors, and no symbolic link is followed below the
kubelet directory, so nothing else on the host can be mounted over or unmounted. Kubelet
makes all but the last directory.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIZE = "4m"
"""Of a volume: room for a CA bundle twice, as a file is written beside the old one."""

MODE = 0o755
"""Only file names are to be seen: an init container of another user waits for one."""

SELINUX_CONTEXT = "system_u:object_r:container_file_t:s0"
"""What containers may read. Kubelet does not relabel read-only volumes."""

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MNT_DETACH, _UMOUNT_NOFOLLOW = 0x2, 0x8
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LAST = "mount"


def mount(kubelet: str, uid: str, name: str) -> bool:
    """Mount an empty tmpfs at a volume's place; False: one is mounted there already.

    Raises:
        OSError: it cannot be mounted, such as for a link on the way.
    """
    with _parent(kubelet, uid, name) as parent:
        _make(parent)
        place = os.open(_LAST, _DIRECTORY, dir_fd=parent)
        try:
            if os.fstat(place).st_dev != os.fstat(parent).st_dev:
                return False
            _mount_tmpfs(f"/proc/self/fd/{place}")
        finally:
            os.close(place)
    return True


def unmount(kubelet: str, uid: str, name: str) -> bool:
    """Unmount all that is mounted at a volume's place; False: nothing was.

    Raises:
        OSError: it cannot be unmounted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    found = False
    try:
        with _parent(kubelet, uid, name) as parent:
            os.fchdir(parent)  # this process is for one request only
            while not libc.umount2(_LAST.encode(), _MNT_DETACH | _UMOUNT_NOFOLLOW):
                found = True
            number = ctypes.get_errno()
    except FileNotFoundError:
        return False
    if number not in (errno.EINVAL, errno.ENOENT):  # not mounted; not there
        raise OSError(number, os.strerror(number))
    return found


def make_directory(kubelet: str, uid: str, name: str) -> None:
    """Make a volume's directory; one that is there stays.

    Raises:
        OSError: it cannot be made.
    """
    with _parent(kubelet, uid, name) as parent:
        _make(parent)


def remove_directory(kubelet: str, uid: str, name: str) -> None:
    """Remove a volume's directory and the files in it; it may be gone.

    Raises:
        OSError: it cannot be removed, or holds directories.
    """
    with suppress(FileNotFoundError), _parent(kubelet, uid, name) as parent:
        remove_files(kubelet, uid, name)
        os.rmdir(_LAST, dir_fd=parent)


def remove_files(kubelet: str, uid: str, name: str, first: str = "") -> None:
    """Remove the files in a volume's directory, the one named `first` before others.

    Raises:
        OSError: one cannot be removed.
    """
    with suppress(FileNotFoundError), _parent(kubelet, uid, name) as parent:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        place = os.open(_LAST, flags, dir_fd=parent)
        try:
            with os.scandir(place) as files:
                names = [file.name for file in files]
            for each in sorted(names, key=lambda each: each != first):
                os.unlink(each, dir_fd=place)
        finally:
            os.close(place)


@contextmanager
def _parent(kubelet: str, uid: str, name: str) -> Iterator[int]:
    """Open the directory that a volume's is in."""
    steps = ("pods", uid, "volumes", "kubernetes.io~csi", name)
    if any("/" in step or step in {"", ".", ".."} for step in steps):
        raise OSError(errno.EINVAL, "a pod's uid and a volume's name are no paths")
    # The kubelet directory itself may be a link: its administrator put it there.
    at = os.open(kubelet, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in steps:
            below = os.open(step, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


def _make(parent: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(_LAST, MODE, dir_fd=parent)
        made = os.open(_LAST, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fchmod(made, MODE)  # what the umask took away
        finally:
            os.close(made)


def _mount_tmpfs(place: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    options = f"size={SIZE},mode={MODE:o}"
    labelled = f'{options},context="{SELINUX_CONTEXT}"'
    number = 0
    # Some hosts refuse the label, although they enforce SELinux.
    for data in (labelled, options) if _selinux_enforces() else (options,):
        if not libc.mount(
            b"consul-ebpf", place.encode(), b"tmpfs", flags, data.encode()
        ):
            return
        number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def _selinux_enforces() -> bool:
    try:
        with open("/sys/fs/selinux/enforce", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip() == "1"
    except OSError:
        return False
