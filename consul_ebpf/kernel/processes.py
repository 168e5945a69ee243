"""Ends processes: by a descriptor, or when their parent ends.

The system calls are made here, because Python has pidfd_open only if the system that it
was built on has it. Only small modules are imported, because the helper uses this, too.
"""

import ctypes
import errno
import os
import signal

_PIDFD_SEND_SIGNAL, _PIDFD_OPEN = 424, 434  # on every architecture
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when `parent` has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before
        os._exit(1)


def open_process(pid: int) -> int:
    """Return a descriptor of a process; unlike a pid, it never names another process.

    Raises:
        OSError: there is no such process, or no free descriptor.
    """
    return _call(_PIDFD_OPEN, pid, 0)


def kill(process: int) -> None:
    """End a process by its descriptor, at once; it may have ended before."""
    try:
        _call(_PIDFD_SEND_SIGNAL, process, signal.SIGKILL, None, 0)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise


def _call(number: int, *arguments: int | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(number, *arguments)
    if result < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
    descriptor: int = result
    return descriptor
