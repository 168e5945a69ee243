"""Sees and destroys the sockets of a thread's network namespace, by sock_diag.

The netlink messages are made here, because each is one struct: a library that knows all
of netlink takes 0.3 s to import, in each short-lived process of the helper.
"""

import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ESTABLISHED = 1 << 1  # TCP_ESTABLISHED, as a bit of sock_diag's state mask
CONNECTED = 0xFFF & ~(1 << 10 | 1 << 7 | 1 << 6 | 1 << 3)
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
    """A socket, as sock_diag identifies it."""

    __slots__ = ("family", "id", "protocol")

    def __init__(self, family: int, protocol: int, identity: bytes) -> None:
        """Name it by address family, protocol and struct inet_diag_sockid."""
        self.family = family
        self.protocol = protocol
        self.id = identity

    @property
    def cookie(self) -> int:
        """The kernel's number of this socket, unique over the host's namespaces."""
        low, high = struct.unpack("=II", self.id[_COOKIE])
        return int(high << 32 | low)

    @property
    def peer(self) -> "Peer":
        """What it is connected to; see `peer_of`."""
        return self.family, self.id[_PEER_ADDRESS], self.id[_PEER_PORT]


Peer = tuple[int, bytes, bytes]
"""Address family, address and port, as they are in struct inet_diag_sockid."""


def peer_of(address: str, port: int) -> Peer:
    """Return an address and a port as sock_diag writes them."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address).ljust(16, b"\0")
    return int(family), packed, port.to_bytes(2, "big")


def connections(states: int, protocol: int = socket.IPPROTO_TCP) -> "Iterator[Found]":
    """Yield the sockets of this thread's namespace.

    Args:
        states: bits of the states to list, such as `ESTABLISHED`.
        protocol: IPPROTO_TCP, or IPPROTO_UDP, of which sockets may be connected, too.

    Raises:
        OSError: the kernel refused it.
    """
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
    """Yield a dump's messages; raises OSError if one of them is an error."""
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


def destroy_socket(found: Found) -> bool:
    """Destroy a socket; returns whether it was still there.

    Raises:
        OSError: EPERM without CAP_NET_ADMIN, EOPNOTSUPP if the kernel cannot do it.
    """
    head = _REQUEST_HEAD.pack(found.family, found.protocol, CONNECTED)
    with _ask(_SOCK_DESTROY, _ACK, head + found.id) as netlink:
        try:
            _check(netlink.recv(_LARGEST_ANSWER))
        except FileNotFoundError:
            return False
    return True


def _ask(kind: int, flags: int, request: bytes) -> socket.socket:
    """Send a request to sock_diag; returns the socket that receives the answer."""
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
    """Raise the error in an NLMSG_ERROR; it may also say that all is well."""
    number = -int(_ERROR.unpack_from(answer, _NLMSGHDR.size)[0])
    if number:
        raise OSError(number, os.strerror(number))
