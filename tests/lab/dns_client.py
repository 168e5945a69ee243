"""A client of DNS that looks at what a resolver looks at: who answered, and what.

    python dns_client.py KIND VIP NAME TYPE [SECONDS PER_SECOND]

asks once, or for so long so often or until SIGTERM, and prints JSON: counts, and each
query that went wrong. It is a process of its own, for that is what a cgroup holds.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.rcode

PORT = 53
TRIES = 3
TRY_SECONDS = 2.0

Address = tuple[str, int]


class StrangerError(Exception):
    """A reply came from elsewhere than the VIP, or the peer is not the VIP."""


@dataclass
class Report:
    """What came of the queries."""

    asked: int = 0
    answered: int = 0
    tries: int = 0
    answers: list[str] = field(default_factory=list)
    """Of the last query: what its records hold, sorted."""
    rcode: str = ""
    truncated: bool = False
    unanswered: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    longest: float = 0.0
    """Seconds until the answer that took longest."""
    last_answer: float = 0.0
    """When, by the clock."""


class Client:
    """Asks one question in one way; each way is a method."""

    def __init__(self, vip: str, name: str, kind: str) -> None:
        self._vip = vip
        self._name = name
        self._kind = kind
        self._family = socket.AF_INET6 if ":" in vip else socket.AF_INET
        self._kept: socket.socket | None = None

    def ask_connected(self, _: int, query: bytes) -> bytes:
        """As glibc: a new socket for each try, connected."""
        with self._udp() as sock:
            sock.connect((self._vip, PORT))
            sock.send(query)
            self._must_be_vip(sock.getpeername())
            return _matching(query, lambda: sock.recv(65535))

    def ask_unconnected(self, attempt: int, query: bytes) -> bytes:
        """As musl: one socket for a query's tries; each reply's source is checked."""
        if attempt == 0 and self._kept:
            self._kept.close()
            self._kept = None
        return self.ask_kept(attempt, query)

    def ask_kept(self, _: int, query: bytes) -> bytes:
        """As dnsmasq: one unconnected socket for everything."""
        sock = self._kept = self._kept or self._udp()
        sock.sendto(query, (self._vip, PORT))

        def receive() -> bytes:
            reply, sender = sock.recvfrom(65535)
            self._must_be_vip(sender)
            return reply

        return _matching(query, receive)

    def ask_recvmsg(self, _: int, query: bytes) -> bytes:
        """As `ask_connected`, but with sendmsg and recvmsg on no connection."""
        with self._udp() as sock:
            sock.sendmsg([query], [], 0, (self._vip, PORT))

            def receive() -> bytes:
                reply, _, _, sender = sock.recvmsg(65535)
                self._must_be_vip(sender)
                return reply

            return _matching(query, receive)

    def ask_tcp(self, _: int, query: bytes) -> bytes:
        """Over TCP, a connection for each try."""
        address = (self._vip, PORT)
        with socket.create_connection(address, TRY_SECONDS) as sock:
            self._must_be_vip(sock.getpeername())
            sock.sendall(len(query).to_bytes(2) + query)
            with sock.makefile("rb") as stream:
                length = int.from_bytes(stream.read(2))
                return stream.read(length)

    def _udp(self) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_DGRAM)
        sock.settimeout(TRY_SECONDS)
        return sock

    def _must_be_vip(self, sender: tuple[str, int]) -> None:
        if sender[:2] != (self._vip, PORT):
            raise StrangerError(f"{sender[0]}:{sender[1]}")

    def query(self) -> bytes:
        """Make the message, with an id of its own."""
        return dns.message.make_query(self._name, self._kind).to_wire()


def _matching(query: bytes, receive: Callable[[], bytes]) -> bytes:
    """Skip late replies to what was asked before, as every resolver does."""
    deadline = time.monotonic() + TRY_SECONDS
    while (reply := receive())[:2] != query[:2]:
        if time.monotonic() > deadline:
            raise TimeoutError
    return reply


def ask_wire(way: Callable[[int, bytes], bytes], query: bytes, report: Report) -> bool:
    """Ask one question up to three times; True: something answered."""
    failed: list[str] = []
    for attempt in range(TRIES):
        report.tries += 1
        try:
            reply = dns.message.from_wire(way(attempt, query), ignore_trailing=True)
        except StrangerError as error:
            report.strangers.append(f"{_clock()} {error}")
        except (OSError, dns.exception.DNSException) as error:
            failed.append(f"{_clock()} {error!r}")
            if not isinstance(error, TimeoutError):  # refused, or cut
                time.sleep(0.1)
        else:
            report.rcode = dns.rcode.to_text(reply.rcode())
            report.truncated = bool(reply.flags & dns.flags.TC)
            found = [str(data) for records in reply.answer for data in records]
            report.answers = sorted(found)
            return True
    report.unanswered.append("; ".join(failed))
    return False


def ask_glibc(name: str, kind: str, report: Report) -> bool:
    """Ask the C library, which has its own tries by resolv.conf."""
    family = {"A": socket.AF_INET, "AAAA": socket.AF_INET6}.get(kind, 0)
    report.tries += 1
    try:
        found = socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)
    except socket.gaierror as error:
        report.answers = []
        report.rcode = str(error)
        if error.errno == socket.EAI_AGAIN:
            report.unanswered.append(f"{_clock()} {error}")
            return False
        return True
    report.rcode = "NOERROR"
    report.answers = sorted({str(each[4][0]) for each in found})
    return True


def ask(kind: str, vip: str, name: str, rdtype: str, pace: tuple[float, float]) -> None:
    """Ask as often as `pace` says, (seconds, a second), and print the report."""
    report = Report()
    client = Client(vip, name, rdtype)
    expected = os.environ.get("EXPECTED")
    duration, per_second = pace
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    if duration:
        print("asking", flush=True)
    begun = time.monotonic()
    while True:
        started = time.monotonic()
        report.asked += 1
        if kind == "glibc":
            good = ask_glibc(name, rdtype, report)
        else:
            way = getattr(client, f"ask_{kind}")
            good = ask_wire(way, client.query(), report)
        report.answered += good
        said = f"{report.rcode} {' '.join(report.answers)}"
        if good and expected is not None and said != expected:
            report.wrong.append(f"{_clock()} {said}")
        now = time.monotonic()
        if good:
            report.longest = max(report.longest, now - started)
            report.last_answer = time.time()
        if stopping or now - begun >= duration:
            break
        due = begun + report.asked / per_second
        time.sleep(max(0.0, due - now))
    print(json.dumps(asdict(report)))


def _clock() -> str:
    return f"{time.time():.2f}"


if __name__ == "__main__":
    way, at, asked, type_, *rest = sys.argv[1:]
    ask(way, at, asked, type_, (float(rest[0]), float(rest[1])) if rest else (0, 1))
