"""DNS servers to ask and the many ways to ask them, each as some resolver does.

A server answers every datagram, and every TCP connection's first bytes, with its own
name; an asker takes an IPv4 address and a port and returns who answered, and where the
answer came from as its process is told.
"""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from consul_ebpf import Server
from tests.kernel import io_uring, many
from tests.kernel.clients import IPV4, IPV6, Family, Peer

Answer = tuple[str, Peer]
"""Who answered, and from where."""

Asker = Callable[[str, int], Answer]

SECONDS = 2.0


class Responder:
    """A DNS server, by UDP and TCP, that can be silent."""

    def __init__(self, address: str, port: int, name: str = "") -> None:
        """Bind; `serve` answers."""
        self.name = name or address
        self.server = Server.at(address, port)
        self.silent = threading.Event()
        self.asked: Counter[str] = Counter()
        """Queries by protocol, those not answered, too."""
        self._held: list[Peer] = []
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._datagrams = socket.socket(self._family, socket.SOCK_DGRAM)
        self._listener = socket.socket(self._family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in (self._datagrams, self._listener):
            sock.bind((address, port))
        self._listener.listen(1024)
        self._end = threading.Event()

    def answer_late(self) -> None:
        """Answer what was not answered."""
        while self._held:
            self._datagrams.sendto(self.name.encode(), self._held.pop())

    def _answer_datagrams(self) -> None:
        while True:
            _, peer = self._datagrams.recvfrom(4096)
            if self._end.is_set():
                return
            self.asked["udp"] += 1
            if self.silent.is_set():
                self._held.append(peer)
            else:
                self._datagrams.sendto(self.name.encode(), peer)

    def _answer_connections(self) -> None:
        kept = []
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            self.asked["tcp"] += 1
            if self.silent.is_set():
                kept.append(connection)
                continue
            with connection:
                connection.recv(4096)
                connection.sendall(self.name.encode())
        for connection in kept:
            connection.close()

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Answer until the end; then nobody listens here."""
        works = (self._answer_datagrams, self._answer_connections)
        threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._listener.shutdown(socket.SHUT_RDWR)
            with socket.socket(self._family, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", self._datagrams.getsockname())
            for thread in threads:
                thread.join()
            self._listener.close()
            self._datagrams.close()


@contextmanager
def responding(address: str, port: int, name: str = "") -> Iterator[Responder]:
    """Have a server that answers until the end."""
    made = Responder(address, port, name)
    with made.serve():
        yield made


def connected(
    family: Family, address: str, port: int, *, how: str = "recvfrom"
) -> Answer:
    """connect(), send(), and one way to receive; the peer by getpeername()."""
    with family.socket(socket.SOCK_DGRAM) as sock:
        sock.connect((family.address(address), port))
        return _ask_connected(sock, how)


def _ask_connected(sock: socket.socket, how: str = "recvfrom") -> Answer:
    sock.settimeout(SECONDS)
    sock.send(b"?")
    peer = _peer(sock.getpeername())
    if how == "recv":
        return sock.recv(4096).decode(), peer
    said, told = receive(sock, how)
    assert told == peer
    return said, peer


def by_io_uring(family: Family, address: str, port: int) -> Answer:
    """Connect by IORING_OP_CONNECT."""
    with family.socket(socket.SOCK_DGRAM) as sock:
        io_uring.connect(sock, family.sockaddr(address, port))
        return _ask_connected(sock)


def connected_and_addressed(family: Family, address: str, port: int) -> Answer:
    """connect(), and then sendto() with the same address again."""
    with family.socket(socket.SOCK_DGRAM) as sock:
        sock.connect((family.address(address), port))
        return ask_by(sock, family.address(address), port)


def unconnected(
    family: Family, address: str, port: int, *, how: str = "recvfrom"
) -> Answer:
    """sendto() or sendmsg(), and one way to receive."""
    with family.socket(socket.SOCK_DGRAM) as sock:
        return ask_by(sock, family.address(address), port, how=how)


def ask_by(
    sock: socket.socket,
    address: str,
    port: int,
    *,
    how: str = "recvfrom",
    seconds: float = SECONDS,
) -> Answer:
    """Ask once by an unconnected socket."""
    sock.settimeout(seconds)
    if how == "recvmmsg":
        many.send(sock, b"?", (address, port))
    elif how == "recvmsg":
        sock.sendmsg([b"?"], [], 0, (address, port))
    else:
        sock.sendto(b"?", (address, port))
    return receive(sock, how)


def by_tcp(family: Family, address: str, port: int) -> Answer:
    """Ask by TCP."""
    with family.socket() as sock:
        sock.settimeout(SECONDS)
        sock.connect((family.address(address), port))
        sock.sendall(b"?")
        return sock.recv(4096).decode(), _peer(sock.getpeername())


def bound_first(family: Family, address: str, port: int) -> Answer:
    """Ask by a socket that was bound to a port before, as resolvers do."""
    with family.socket(socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0" if family is IPV4 else "::", 0))
        return ask_by(sock, family.address(address), port)


def receive(sock: socket.socket, how: str = "recvfrom") -> Answer:
    """Receive one answer."""
    if how == "recvfrom":
        said, told = sock.recvfrom(4096)
    elif how == "recvmmsg":
        said, told = many.receive(sock)
    else:
        said, _, _, told = sock.recvmsg(4096)
    return said.decode(), _peer(told)


def _peer(told: tuple[object, ...]) -> Peer:
    return str(told[0]), int(str(told[1]))


def _ways(family: Family) -> dict[str, Asker]:
    ways: dict[str, Callable[[Family, str, int], Answer]] = {
        **{
            f"connected-{how}": partial(connected, how=how)
            for how in ("recv", "recvfrom", "recvmsg")
        },
        **{
            f"unconnected-{how}": partial(unconnected, how=how)
            for how in ("recvfrom", "recvmsg", "recvmmsg")
        },
        "connected-and-addressed": connected_and_addressed,
        "io_uring": by_io_uring,
        "bound-first": bound_first,
        "tcp": by_tcp,
    }
    return {f"{name}-{family.name}": partial(way, family) for name, way in ways.items()}


ASKERS = _ways(IPV4) | _ways(IPV6)
"""By name; those of AF_INET6 sockets ask the mapped address."""


def cookie_of(sock: socket.socket) -> int:
    """Return a socket's cookie."""
    (cookie,) = struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, 57, 8))
    return int(cookie)
