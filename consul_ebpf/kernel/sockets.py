"""Sees and destroys this host's sockets, by cookie, in every network namespace.

Namespaces that this process may not enter are left out: without CAP_SYS_ADMIN and
CAP_SYS_PTRACE it may enter none but its own.
"""

import socket
import struct
import threading
import time

from consul_ebpf.kernel import netns
from consul_ebpf.kernel.sock_diag import (
    CONNECTED,
    ESTABLISHED,
    Found,
    Peer,
    connections,
    destroy_socket,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeVar

    T = TypeVar("T")

_SO_NETNS_COOKIE = 71


def established_cookies() -> frozenset[int]:
    """Return the socket cookies of all established TCP connections.

    Cookies are unique over the host's namespaces.
    """
    return frozenset(
        in_a_thread(
            lambda: {
                found.cookie
                for _ in _everywhere()
                for found in connections(ESTABLISHED)
            }
        )
    )


def established_here() -> frozenset[int]:
    """Return the cookies of this network namespace's only; needs no privilege."""
    return frozenset(found.cookie for found in connections(ESTABLISHED))


def destroy(doomed: "Mapping[int, frozenset[Peer]]", per_second: float) -> int:
    """Destroy the sockets with these cookies, each if it has one of its peers.

    Their owners get ECONNABORTED.

    Args:
        doomed: the peers, by cookie.
        per_second: how many are destroyed in a second at most.

    Returns:
        How many were destroyed.

    Raises:
        OSError: EPERM without CAP_NET_ADMIN, EOPNOTSUPP if the kernel cannot
            (CONFIG_INET_DIAG_DESTROY).
    """
    left = dict(doomed)
    pace = _Pace(per_second)

    def is_doomed(found: Found) -> bool:
        return found.peer in left.get(found.cookie, ())

    def work() -> int:
        count = 0
        for _ in _everywhere() if left else ():
            for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
                # List all of them first: if sockets of a dump go meanwhile, the kernel
                # skips others.
                there = connections(CONNECTED, protocol)
                for found in list(filter(is_doomed, there)):
                    pace.wait()
                    del left[found.cookie]
                    count += destroy_socket(found)
                if not left:
                    return count
        return count

    return in_a_thread(work)


def peer_here(cookie: int) -> tuple[str, int] | None:
    """Return the address and port a socket of our own namespace is connected to.

    By sock_diag, because programs can translate what getpeername() returns. None: there
    is no such socket.
    """
    for found in connections(CONNECTED):
        if found.cookie == cookie:
            family, packed, port = found.peer
            size = 4 if family == socket.AF_INET else 16
            address = socket.inet_ntop(family, packed[:size])
            return address, int.from_bytes(port, "big")
    return None


def netns_cookie(path: str) -> int:
    """Return the cookie of the network namespace at `path`.

    Raises:
        OSError: it cannot be entered, or the kernel has no cookies (ENOPROTOOPT, before
            Linux 5.14).
    """

    def ask() -> int:
        netns.enter(path)
        return own_netns_cookie()

    return in_a_thread(ask)


def own_netns_cookie() -> int:
    """Return the cookie of this thread's network namespace.

    Raises:
        OSError: ENOPROTOOPT before Linux 5.14.
    """
    with socket.socket() as sock:
        packed = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    return int(struct.unpack("=Q", packed)[0])


def in_a_thread(work: "Callable[[], T]") -> "T":
    """Do some work in a thread of its own, because setns() is for good."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again below
            failed.append(error)

    thread = threading.Thread(target=run, name="namespaces")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _everywhere() -> "Iterator[None]":
    """Move this thread into each network namespace in turn."""
    for path in netns.all_namespaces():
        if path is not None:
            try:
                netns.enter(path)
            except OSError:  # gone meanwhile, or we may not enter it
                continue
        yield


class _Pace:
    """Lets at most so many pass in a second, the first one at once."""

    def __init__(self, per_second: float) -> None:
        self._pause = 1 / per_second
        self._next = time.monotonic()

    def wait(self) -> None:
        now = time.monotonic()
        time.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + self._pause
