"""What went over the wire between proxies and servers, told from packets. Pure.

A proxy's xDS stream is known by the proxy's id in its first request, whoever carries
it: Envoy itself, consul-dataplane or HAProxy. So all are measured alike, nobody is
asked anything meanwhile, and a time is the kernel's own for a packet.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

Ends = tuple[str, int, str, int]
"""A connection: client's address and port, server's address and port."""

FIN, SYN, RST = 1, 2, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM = 0, 1, 3
_END_STREAM = 1
_XDS = b"envoy.config."
_PROXY = re.compile(rb"[a-z]+-\d+-sidecar-proxy")


@dataclass
class Stream:
    """A proxy's xDS stream to a server; times are the clock's, in seconds.

    Attributes:
        proxy: its id.
        server: its address.
        begun: the connection's first packet.
        asked: the first request.
        taken: the server's first word after that, be it HTTP/2's own; None: there was
            none.
        answered: its first answer.
        ended: it was ended by either side, or its connection was; None: not yet.
        turned_away: the server itself ended the stream, not its connection.
    """

    proxy: str
    server: str
    begun: float
    asked: float
    taken: float | None = None
    answered: float | None = None
    ended: float | None = None
    turned_away: bool = False


@dataclass
class Attempt:
    """A connection that somebody tried to make; times as above.

    Attributes:
        server: its address.
        begun: the first packet.
        again: packets with which it was tried once more.
        accepted: the kernel's answer that there is one; None: there was none.
        ended: the first packet that ended it; None: not yet.
        how: who ended it, and by what.
        proxy: whose xDS stream it carried, if any.
    """

    server: str
    begun: float
    again: int = 0
    accepted: float | None = None
    ended: float | None = None
    how: str = ""
    proxy: str = ""


@dataclass
class _Side:
    """The bytes that one side sends, and which are next."""

    next: int | None = None
    rest: bytearray = field(default_factory=bytearray)

    def take(self, sequence: int, payload: bytes) -> None:
        """Append what is new; what was sent again is known."""
        if self.next is None:
            self.next = sequence
        new = (self.next - sequence) & 0xFFFFFFFF
        if new < len(payload):
            self.rest += payload[new:]
            self.next = (sequence + len(payload)) & 0xFFFFFFFF


@dataclass
class _Flow:
    """One connection to a server."""

    attempt: Attempt
    client: _Side = field(default_factory=_Side)
    server: _Side = field(default_factory=_Side)
    requests: dict[int, bytes] = field(default_factory=dict)
    streams: dict[int, Stream] = field(default_factory=dict)

    def end(self, at: float, whose: str, *, reset: bool) -> None:
        """Note the end of the connection, once, and of its streams."""
        if self.attempt.ended is None:
            self.attempt.ended = at
            self.attempt.how = f"{whose} {'RST' if reset else 'FIN'}"
        for stream in self.streams.values():
            stream.ended = stream.ended or at


class Flows:
    """Takes packets to and from one port in turn, and knows the streams in them.

    Args:
        port: the servers'.
        alias: an address that the answers of any server may bear: what is translated
            is translated back before it is seen here.

    Attributes:
        streams: all of them, by the time of their first request.
        attempts: each connection that was tried, by its first packet.
    """

    def __init__(self, port: int, alias: str = "") -> None:
        self._port = port
        self._alias = alias
        self._newest: dict[tuple[str, int], Ends] = {}
        self._flows: dict[Ends, _Flow] = {}
        self.streams: list[Stream] = []
        self.attempts: list[Attempt] = []

    def __repr__(self) -> str:
        return f"<Flows {len(self.streams)} streams>"

    def take(self, at: float, packet: bytes) -> None:
        """Take an IPv4 packet with TCP in it."""
        header = (packet[0] & 15) * 4
        source, target, sequence, _, offset, flags = struct.unpack_from(
            "!HHIIBB", packet, header
        )
        length = int.from_bytes(packet[2:4], "big") or len(packet)
        payload = packet[header + (offset >> 4) * 4 : length]
        client = target == self._port
        hosts = (_address(packet[12:16]), _address(packet[16:20]))
        ends = (hosts[0], source, hosts[1], target)
        ends = ends if client else (ends[2], ends[3], ends[0], ends[1])
        if ends[2] == self._alias:
            ends = self._newest.get(ends[:2], ends)
        if client and flags & SYN:
            self._begin(at, ends)
            return
        flow = self._flows.get(ends)
        if flow is None:
            return
        if flags & SYN:
            flow.attempt.accepted = flow.attempt.accepted or at
            return
        if payload:
            side = flow.client if client else flow.server
            side.take(sequence, payload)
            for frame in _frames(side.rest):
                self._read(at, ends[2], flow, frame, client=client)
        if flags & (FIN | RST):
            flow.end(at, f"{'client' if client else 'server'}'s", reset=flags & RST > 0)
            if flags & RST or not client:
                del self._flows[ends]

    def _begin(self, at: float, ends: Ends) -> None:
        self._newest[ends[:2]] = ends
        if ends in self._flows:
            self._flows[ends].attempt.again += 1
        else:
            attempt = Attempt(ends[2], at)
            self._flows[ends] = _Flow(attempt)
            self.attempts.append(attempt)

    def _read(
        self,
        at: float,
        server: str,
        flow: _Flow,
        frame: tuple[int, int, int, bytes],
        *,
        client: bool,
    ) -> None:
        kind, flags, number, payload = frame
        if not client:
            for each in flow.streams.values():
                each.taken = each.taken or at
        stream = flow.streams.get(number)
        if client and stream is None and kind == _DATA:
            said = flow.requests.get(number, b"") + payload
            flow.requests[number] = said
            found = _PROXY.search(said)
            if found and _XDS in said:
                stream = Stream(found[0].decode(), server, flow.attempt.begun, at)
                flow.attempt.proxy = stream.proxy
                flow.streams[number] = stream
                self.streams.append(stream)
                del flow.requests[number]
        elif stream is None:
            return
        elif not client and kind == _DATA and payload:
            stream.answered = stream.answered or at
        if stream and (
            kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM)
        ):
            stream.turned_away |= not client and stream.ended is None
            stream.ended = stream.ended or at


def _frames(rest: bytearray) -> Iterator[tuple[int, int, int, bytes]]:
    """Take each whole frame: kind, flags, stream and payload."""
    if rest.startswith(PREFACE):
        del rest[: len(PREFACE)]
    while len(rest) >= 9 and not PREFACE.startswith(rest[:9]):
        length = int.from_bytes(rest[:3], "big")
        if len(rest) < 9 + length:
            return
        number = int.from_bytes(rest[5:9], "big") & 0x7FFFFFFF
        yield rest[3], rest[4], number, bytes(rest[9 : 9 + length])
        del rest[: 9 + length]


def _address(packed: bytes) -> str:
    return ".".join(map(str, packed))
