"""The many ways a program connects, each to be redirected all the same.

A client takes an IPv4 address and a port, connects, and returns its socket's real
peer as the kernel tells it. It raises the OSError of its connect().
"""

import asyncio
import errno
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.kernel import io_uring

Peer = tuple[str, int]
Client = Callable[[str, int], Peer]

TIMEOUT = 5.0
MPTCP = 262
FASTOPEN_CONNECT = 30  # socket.TCP_FASTOPEN_CONNECT of newer Pythons
MSG_FASTOPEN = 0x20000000


@dataclass(frozen=True)
class Family:
    """An address family, and how an IPv4 address is written in it."""

    name: str
    number: socket.AddressFamily
    only_ipv6: bool = False

    def address(self, ipv4: str) -> str:
        """As the program says it: itself, or IPv4-mapped."""
        return ipv4 if self.number == socket.AF_INET else f"::ffff:{ipv4}"

    def sockaddr(self, ipv4: str, port: int) -> bytes:
        """As a struct sockaddr."""
        packed = socket.inet_pton(self.number, self.address(ipv4))
        head = struct.pack("=H", self.number) + struct.pack("!H", port)
        if self.number == socket.AF_INET:
            return head + packed + bytes(8)
        return head + bytes(4) + packed + bytes(4)

    def socket(
        self, kind: socket.SocketKind = socket.SOCK_STREAM, protocol: int = 0
    ) -> socket.socket:
        """Make a blocking socket whose connect() ends within `TIMEOUT` seconds."""
        made = socket.socket(self.number, kind, protocol)
        limit = struct.pack("ll", int(TIMEOUT), 0)  # settimeout() is not blocking
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        if self.number == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self.only_ipv6)
        return made


IPV4 = Family("ipv4", socket.AF_INET)
IPV6 = Family("ipv6", socket.AF_INET6)
ONLY_IPV6 = Family("ipv6-only", socket.AF_INET6, only_ipv6=True)
"""IPV6_V6ONLY: cannot reach an IPv4 address, even if mapped; Envoy's sockets."""


def _peer(sock: socket.socket) -> Peer:
    address, port, *_ = sock.getpeername()
    return address, port


def blocking(family: Family, address: str, port: int) -> Peer:
    """Call connect() and wait in it."""
    with family.socket() as sock:
        sock.connect((family.address(address), port))
        return _peer(sock)


def non_blocking(family: Family, address: str, port: int) -> Peer:
    """Call connect(), then poll() until it is done: as Envoy does."""
    with family.socket() as sock:
        sock.setblocking(False)
        result = sock.connect_ex((family.address(address), port))
        if result == errno.EINPROGRESS:
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            if not poll.poll(TIMEOUT * 1000):
                raise TimeoutError(errno.ETIMEDOUT, "no answer")
            result = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            raise OSError(result, os.strerror(result))
        return _peer(sock)


def asynchronous(family: Family, address: str, port: int) -> Peer:
    """Connect by an asyncio event loop."""

    async def connect() -> Peer:
        loop = asyncio.get_running_loop()
        with family.socket() as sock:
            sock.setblocking(False)
            where = (family.address(address), port)
            await asyncio.wait_for(loop.sock_connect(sock, where), TIMEOUT)
            return _peer(sock)

    # Not asyncio.run, which takes the thread's own loop away, and pytest has one.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(connect())


def uring(family: Family, address: str, port: int) -> Peer:
    """Connect by IORING_OP_CONNECT."""
    with family.socket() as sock:
        io_uring.connect(sock, family.sockaddr(address, port))
        return _peer(sock)


def fast_open_sendto(family: Family, address: str, port: int) -> Peer:
    """Never call connect(): sendto() with MSG_FASTOPEN. Sends one byte."""
    with family.socket() as sock:
        sock.sendto(b"\0", MSG_FASTOPEN, (family.address(address), port))
        return _peer(sock)


def fast_open_connect(family: Family, address: str, port: int) -> Peer:
    """Call connect() with TCP_FASTOPEN_CONNECT, which may put it off until data comes.

    Sends one byte.
    """
    with family.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, FASTOPEN_CONNECT, 1)
        sock.connect((family.address(address), port))
        sock.send(b"\0")
        return _peer(sock)


def multipath(family: Family, address: str, port: int) -> Peer:
    """Connect by Multipath TCP."""
    with family.socket(protocol=MPTCP) as sock:
        sock.connect((family.address(address), port))
        return _peer(sock)


def spawned(family: Family, address: str, port: int) -> Peer:
    """Connect in a child made by vfork() and exec()."""
    child = (
        "import socket, sys\n"
        "family, only, address, port = sys.argv[1:]\n"
        "s = socket.socket(int(family))\n"
        "if s.family == socket.AF_INET6:\n"
        "    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only))\n"
        "s.settimeout(4)\n"
        "code = s.connect_ex((address, int(port)))\n"
        "print(code, *([] if code else s.getpeername()[:2]))\n"
    )
    where = (family.number, int(family.only_ipv6), family.address(address), port)
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", child, *map(str, where)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=2 * TIMEOUT,
    )
    code, *peer = ended.stdout.split()
    if int(code):
        raise OSError(int(code), os.strerror(int(code)))
    return peer[0], int(peer[1])


def _datagram(family: Family, address: str, port: int) -> Peer:
    with family.socket(socket.SOCK_DGRAM) as sock:
        sock.connect((family.address(address), port))
        return _peer(sock)


_WAYS = {
    "blocking": blocking,
    "non-blocking": non_blocking,
    "asyncio": asynchronous,
    "io_uring": uring,
    "fast-open-sendto": fast_open_sendto,
    "fast-open-connect": fast_open_connect,
    "mptcp": multipath,
    "spawned": spawned,
}


def _in(family: Family) -> dict[str, Client]:
    return {
        f"{name}-{family.name}": partial(way, family) for name, way in _WAYS.items()
    }


IPV4_CLIENTS = _in(IPV4)
"""TCP by AF_INET sockets, by name."""

IPV6_CLIENTS = _in(IPV6) | _in(ONLY_IPV6)
"""TCP by AF_INET6 sockets to the IPv4-mapped address, by name.

Those that end in `ipv6-only` reach a native IPv6 server, if redirected to one, and
nothing otherwise (ENETUNREACH).
"""

UDP_CLIENTS: dict[str, Client] = {
    f"udp-{family.name}": partial(_datagram, family) for family in (IPV4, IPV6)
}
"""Connected UDP sockets: to be left alone, so the peer is the address given."""


def why_missing(name: str) -> str:
    """Say why a client cannot run on this kernel; empty: it can."""
    if name.startswith("io_uring"):
        return io_uring.why_missing()
    if name.startswith("mptcp"):
        try:
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP).close()
        except OSError as error:
            return f"MPTCP: {error.strerror}"
    return ""
