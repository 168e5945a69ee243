"""The controller's side of one of the helper's guards; see `helper.py`."""

import errno
import os
import socket
from contextlib import suppress
from dataclasses import dataclass

from consul_ebpf.kernel.processes import kill
from consul_ebpf.model.errors import KernelError


class HelperError(KernelError):
    """The helper did not answer in time, or its process has ended."""


@dataclass(frozen=True)
class Guard:
    """A guard: the socket it listens to, and a descriptor of its process."""

    control: socket.socket
    process: int
    pid: int

    def has_ended(self) -> bool:
        """Whether the guard's end of the socket is closed."""
        try:
            return not self.control.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def send(self, kind: bytes, descriptor: socket.socket) -> None:
        """Send a message; raises OSError if the guard is dead or its queue is full."""
        socket.send_fds(self.control, [kind], [descriptor.fileno()])

    def end(self) -> None:
        """End the guard's process, and close the descriptors of it."""
        self.control.close()
        end_process(self.process)
        with suppress(ChildProcessError):  # only the first guard is our child
            os.waitpid(self.pid, os.WNOHANG)


def process_of(ours: socket.socket, seconds: float) -> tuple[int, int]:
    """Receive a new process's first message: a descriptor of itself, and its pid.

    Raises:
        HelperError: the process sent none within `seconds`, or has ended.
        OSError: this process has no free descriptor.
    """
    ours.settimeout(seconds)
    try:
        said, descriptors, flags, _ = socket.recv_fds(
            ours, 32, 1, socket.MSG_CMSG_CLOEXEC
        )
    except OSError as error:
        raise HelperError(f"nothing within {seconds:g} s ({error})") from error
    if flags & socket.MSG_CTRUNC:  # the fault is here, not the guard's
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    if not descriptors:
        raise HelperError("its process ended")
    ours.setblocking(False)
    return descriptors[0], int(said)


def end_process(process: int) -> None:
    """End a process by its descriptor, if it still runs; close the descriptor."""
    kill(process)
    os.close(process)
