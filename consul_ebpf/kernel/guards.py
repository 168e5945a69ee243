"""The controller's view of one of the helper's guards; see `helper.py`."""

import errno
import os
import socket
from contextlib import suppress
from dataclasses import dataclass

from consul_ebpf.kernel.processes import kill
from consul_ebpf.model.errors import KernelError


class HelperError(KernelError):
    """The helper did not answer: it was too late, or its process has ended."""


@dataclass(frozen=True)
class Guard:
    """A guard: the socket it listens to, and a descriptor of its process."""

    control: socket.socket
    process: int
    pid: int

    def has_ended(self) -> bool:
        """Whether its end of the socket is closed."""
        try:
            return not self.control.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def send(self, kind: bytes, descriptor: socket.socket) -> None:
        """Give it a message; raises OSError where it is dead, or its queue full."""
        socket.send_fds(self.control, [kind], [descriptor.fileno()])

    def end(self) -> None:
        """End it, and close what is kept of it."""
        self.control.close()
        end_process(self.process)
        with suppress(ChildProcessError):  # it is our child where we are the first
            os.waitpid(self.pid, os.WNOHANG)


def process_of(ours: socket.socket, seconds: float) -> tuple[int, int]:
    """Receive what a process says as it begins: a descriptor of itself, its pid.

    Raises:
        HelperError: it does not begin.
        OSError: this process has no free descriptor.
    """
    ours.settimeout(seconds)
    try:
        said, descriptors, flags, _ = socket.recv_fds(
            ours, 32, 1, socket.MSG_CMSG_CLOEXEC
        )
    except OSError as error:
        raise HelperError(f"nothing within {seconds:g} s ({error})") from error
    if flags & socket.MSG_CTRUNC:  # that is our trouble, not the guard's
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    if not descriptors:
        raise HelperError("its process ended")
    ours.setblocking(False)
    return descriptors[0], int(said)


def end_process(process: int) -> None:
    """End a process by its descriptor, if it still runs, and close that."""
    kill(process)
    os.close(process)
