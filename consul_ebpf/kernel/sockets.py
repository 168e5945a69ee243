"""Sees and destroys this host's sockets, by cookie, in every network namespace.

Namespaces this process may not enter are left out: without CAP_SYS_ADMIN and
CAP_SYS_PTRACE that is all but its own.

By netlink's sock_diag, and by hand: a request is one struct and an answer another, and
a library that knows all of netlink takes 0.3 s to be imported by each short-lived
helper.
"""

import os
import socket
import struct
import threading
import time

from consul_ebpf.kernel import netns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeVar

    T = TypeVar("T")

SO_NETNS_COOKIE = 71

_ESTABLISHED = 1 << 1  # TCP_ESTABLISHED, as a bit of sock_diag's state mask
_CONNECTED = 0xFFF & ~(1 << 10 | 1 << 7 | 1 << 6 | 1 << 3)
"""All states but LISTEN, CLOSE, TIME_WAIT and SYN_RECV: ends of a connection."""

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 20, 21
_REQUEST, _ACK, _DUMP = 1, 4, 0x300  # NLM_F_...
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSGHDR = struct.Struct("=IHHII")
_REQUEST_HEAD = struct.Struct("=BBxxI")  # of struct inet_diag_req_v2
_ERROR = struct.Struct("=i")
_ID = slice(4, 52)  # struct inet_diag_sockid in struct inet_diag_msg
_PEER_PORT, _PEER_ADDRESS = slice(2, 4), slice(20, 36)
_COOKIE = slice(40, 48)
_LARGEST_ANSWER = 65536  # bytes; the kernel sends at most 32 KiB at a time


class Found:
    """A socket as sock_diag names it."""

    __slots__ = ("family", "id", "protocol")

    def __init__(self, family: int, protocol: int, identity: bytes) -> None:
        """Take a family, a protocol and a struct inet_diag_sockid."""
        self.family = family
        self.protocol = protocol
        self.id = identity

    @property
    def cookie(self) -> int:
        """Unique over the host's namespaces."""
        low, high = struct.unpack("=II", self.id[_COOKIE])
        return int(high << 32 | low)

    @property
    def peer(self) -> "Peer":
        """Where it leads; see `peer_of`."""
        return self.family, self.id[_PEER_ADDRESS], self.id[_PEER_PORT]


Peer = tuple[int, bytes, bytes]
"""Address family, address and port, as they are in struct inet_diag_sockid."""


def peer_of(address: str, port: int) -> Peer:
    """Write an address and a port as sock_diag does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address).ljust(16, b"\0")
    return int(family), packed, port.to_bytes(2, "big")


def established_cookies() -> frozenset[int]:
    """Return the socket cookies of all established TCP connections.

    Cookies are unique over the host's namespaces.
    """
    return frozenset(
        in_a_thread(
            lambda: {
                found.cookie
                for _ in _everywhere()
                for found in _connections(_ESTABLISHED)
            }
        )
    )


def established_here() -> frozenset[int]:
    """Return those of this process's own network namespace; needs no privilege."""
    return frozenset(found.cookie for found in _connections(_ESTABLISHED))


def destroy(doomed: "Mapping[int, frozenset[Peer]]", per_second: float) -> int:
    """Destroy sockets by cookie, those that have one of these peers.

    Their owners get ECONNABORTED. Returns how many were destroyed.

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
                # All of them first: a dump whose sockets go meanwhile passes over
                # others.
                there = _connections(_CONNECTED, protocol)
                for found in list(filter(is_doomed, there)):
                    pace.wait()
                    del left[found.cookie]
                    count += _destroy_one(found)
                if not left:
                    return count
        return count

    return in_a_thread(work)


def peer_here(cookie: int) -> tuple[str, int] | None:
    """Return where a socket of our own namespace leads, by the kernel's account.

    Not by getpeername(), which a program can translate, too. None: it is not there.
    """
    for found in _connections(_CONNECTED):
        if found.cookie == cookie:
            family, packed, port = found.peer
            size = 4 if family == socket.AF_INET else 16
            address = socket.inet_ntop(family, packed[:size])
            return address, int.from_bytes(port, "big")
    return None


def netns_cookie(path: str) -> int:
    """Return the cookie of a network namespace; raises OSError."""

    def ask() -> int:
        netns.enter(path)
        with socket.socket() as sock:
            packed = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        return int(struct.unpack("=Q", packed)[0])

    return in_a_thread(ask)


def in_a_thread(work: "Callable[[], T]") -> "T":
    """Do some work in a thread that ends with it: setns() is for good."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again just below
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
            except OSError:  # gone meanwhile, or not ours to enter
                continue
        yield


def _connections(states: int, protocol: int = socket.IPPROTO_TCP) -> "Iterator[Found]":
    """Yield the sockets of this thread's namespace; a UDP one may be connected, too."""
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _REQUEST_HEAD.pack(family, protocol, states) + bytes(48)
        with _ask(_SOCK_DIAG_BY_FAMILY, _DUMP, request) as netlink:
            try:
                for kind, body in _messages(netlink):
                    if kind == _SOCK_DIAG_BY_FAMILY:
                        yield Found(body[0], protocol, body[_ID])
            except FileNotFoundError:  # a kernel without diagnosis of this protocol
                return


def _messages(netlink: socket.socket) -> "Iterator[tuple[int, bytes]]":
    """Yield a dump's messages; raises OSError where one says so."""
    while True:
        data = netlink.recv(_LARGEST_ANSWER)
        while data:
            size, kind, *_ = _NLMSGHDR.unpack_from(data)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                _check(data)
            yield kind, data[_NLMSGHDR.size : size]
            data = data[(size + 3) & ~3 :]


def _destroy_one(found: Found) -> bool:
    """Send SOCK_DESTROY; whether the socket was still there."""
    head = _REQUEST_HEAD.pack(found.family, found.protocol, _CONNECTED)
    with _ask(_SOCK_DESTROY, _ACK, head + found.id) as netlink:
        try:
            _check(netlink.recv(_LARGEST_ANSWER))
        except FileNotFoundError:
            return False
    return True


def _ask(kind: int, flags: int, request: bytes) -> socket.socket:
    """Send a request to sock_diag; the answer comes from the socket returned."""
    netlink = socket.socket(
        socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
    )
    try:
        size = _NLMSGHDR.size + len(request)
        netlink.send(_NLMSGHDR.pack(size, kind, _REQUEST | flags, 1, 0) + request)
    except BaseException:
        netlink.close()
        raise
    return netlink


def _check(answer: bytes) -> None:
    """Raise the error that an NLMSG_ERROR holds, if it is one."""
    number = -int(_ERROR.unpack_from(answer, _NLMSGHDR.size)[0])
    if number:
        raise OSError(number, os.strerror(number))


class _Pace:
    """At most so many a second, the first at once."""

    def __init__(self, per_second: float) -> None:
        self._pause = 1 / per_second
        self._next = time.monotonic()

    def wait(self) -> None:
        now = time.monotonic()
        time.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + self._pause
