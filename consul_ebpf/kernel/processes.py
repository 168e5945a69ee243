"""Processes that end when they should: by a descriptor, and with their parent.

By system calls: Python has pidfd_open only where it was built on a system that knows
it. Only small modules are imported: the helper needs this, too.
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
    if os.getppid() != parent:  # it had already
        os._exit(1)


def open_process(pid: int) -> int:
    """Return a descriptor of a process; unlike its pid it never means another one."""
    return _call(_PIDFD_OPEN, pid, 0)


def kill(process: int) -> None:
    """End a process by its descriptor, at once; one that has ended is no error."""
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
