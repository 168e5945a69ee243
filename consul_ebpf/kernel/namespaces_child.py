"""The small process that keeps the privileges the controller gives up.

Run as `python -m consul_ebpf.kernel.namespaces_child CAPABILITIES [KUBELET_DIRECTORY]`,
with a socket as standard input. Volumes are mounted below that directory alone. Each
message on the socket is one letter with a descriptor:

    r   a request: a fork answers it on that descriptor, and ends
    g   another guard: a fork that listens to that descriptor as this one does here

This process, the guard, opens nothing and waits for nothing but messages, so it cannot
hang. The kernel ends a fork that hangs after its seconds. A guard ends when the
controller does, because then its socket is closed, and its forks end with it. There are
two guards, so that one can replace the other. `helper.py` sends the messages;
`requests.py` has what can be asked.
"""

import _socket
import os
import signal
import sys

from consul_ebpf.kernel import capabilities, requests
from consul_ebpf.kernel.processes import end_with_parent, open_process

REQUEST, GUARD = b"r", b"g"

_DESCRIPTOR = 4  # bytes


def send_itself(to: _socket.socket) -> None:
    """Send a descriptor of this process, by which it can be ended."""
    itself = open_process(os.getpid())
    rights = (
        _socket.SOL_SOCKET,
        _socket.SCM_RIGHTS,
        itself.to_bytes(_DESCRIPTOR, sys.byteorder),
    )
    to.sendmsg([b"%d\n" % os.getpid()], [rights])
    os.close(itself)


def guard(control: _socket.socket) -> None:
    """Fork for each message, until the other end of `control` is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    send_itself(control)
    while True:
        space = _socket.CMSG_SPACE(_DESCRIPTOR)
        kind, rights, *_ = control.recvmsg(1, space, _socket.MSG_CMSG_CLOEXEC)
        if not kind:
            return
        if not rights:
            continue
        descriptor = int.from_bytes(rights[0][2][:_DESCRIPTOR], sys.byteorder)
        here = os.getpid()
        try:
            child = os.fork()
        except OSError:  # too many processes: the asker sees the descriptor closed
            child = here
        if not child:
            control.close()  # only the guard keeps it: closed, it says that it ended
            if kind == REQUEST:
                _answer(descriptor, here)
                os._exit(0)
            control = _socket.socket(fileno=descriptor)
            send_itself(control)
            continue
        os.close(descriptor)


def _answer(descriptor: int, parent: int) -> None:
    end_with_parent(parent)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asker = _socket.socket(fileno=descriptor)
    send_itself(asker)
    requests.answer(asker)
    asker.close()


if __name__ == "__main__":
    end_with_parent(os.getppid())
    capabilities.keep_only(set(sys.argv[1].split(",")))
    guard(_socket.socket(fileno=0))
