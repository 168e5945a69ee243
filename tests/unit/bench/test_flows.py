"""Streams are told from packets, whoever carries them and however they are cut."""

import socket
import struct

from tests.bench.failover.flows import FIN, PREFACE, RST, SYN, Flows

ACK = 16
PROXY, SERVER, ALIAS = "127.0.0.1", "127.0.100.1", "127.0.99.2"
PORT, CLIENT_PORT = 8502, 40000
REQUEST = b"\x0a\x15web-1-sidecar-proxy type/envoy.config.cluster.v3.Cluster"
DATA, HEADERS, RST_STREAM, SETTINGS, END = 0, 1, 3, 4, 1


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 1) -> bytes:
    length = len(payload).to_bytes(3, "big")
    return length + struct.pack("!BBI", kind, flags, stream) + payload


class Connection:
    """One connection, a packet a second, from second `at` on."""

    def __init__(self, flows: Flows, *, port: int = CLIENT_PORT, at: float = 0) -> None:
        self._flows = flows
        self._port = port
        self._next = {True: 1000, False: 9000}
        self.at = at
        self.packet(b"", SYN)
        self._next[True] += 1
        self.packet(b"", SYN | ACK, client=False)
        self._next[False] += 1

    def packet(
        self,
        payload: bytes,
        flags: int = ACK,
        *,
        client: bool = True,
        server: str = SERVER,
    ) -> None:
        ports = (self._port, PORT) if client else (PORT, self._port)
        hosts = (PROXY, server) if client else (server, PROXY)
        tcp = struct.pack(
            "!HHIIBBHHH", *ports, self._next[client], 0, 80, flags, 0, 0, 0
        )
        length = 20 + len(tcp) + len(payload)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, 6, 0)
        ip += b"".join(map(socket.inet_aton, hosts))
        self._flows.take(self.at, ip + tcp + payload)
        self._next[client] += len(payload)
        self.at += 1

    def again(self, payload: bytes) -> None:
        """Send what was sent last once more."""
        self._next[True] -= len(payload)
        self.packet(payload)


def test_a_stream_is_known_by_its_first_request() -> None:
    flows = Flows(PORT)
    connection = Connection(flows)
    connection.packet(PREFACE + frame(SETTINGS, stream=0))
    connection.packet(frame(HEADERS) + frame(DATA, REQUEST))
    connection.packet(frame(SETTINGS, stream=0), client=False)
    connection.packet(frame(HEADERS) + frame(DATA, b"x"), client=False)
    (stream,) = flows.streams
    assert (stream.proxy, stream.server) == ("web-1-sidecar-proxy", SERVER)
    assert (stream.begun, stream.asked, stream.taken, stream.answered) == (0, 3, 4, 5)
    assert stream.ended is None
    (attempt,) = flows.attempts
    assert (attempt.server, attempt.begun, attempt.accepted) == (SERVER, 0, 1)
    assert (attempt.proxy, attempt.ended) == (stream.proxy, None)


def test_frames_may_be_cut_anywhere_and_packets_come_twice() -> None:
    flows = Flows(PORT)
    connection = Connection(flows)
    said = PREFACE + frame(HEADERS) + frame(DATA, REQUEST)
    for start in range(0, len(said), 7):
        connection.packet(said[start : start + 7])
        connection.again(said[start : start + 7])
    (stream,) = flows.streams
    assert stream.proxy == "web-1-sidecar-proxy"


def test_another_call_that_names_the_proxy_is_no_stream() -> None:
    """consul-dataplane asks for the bootstrap's values over the same connection."""
    flows = Flows(PORT)
    connection = Connection(flows)
    connection.packet(PREFACE + frame(DATA, b"web-1-sidecar-proxy", flags=END))
    connection.packet(frame(DATA, REQUEST, stream=3))
    connection.packet(frame(DATA, b"x"), client=False)
    (stream,) = flows.streams
    assert (stream.asked, stream.taken, stream.answered) == (3, 4, None)


def test_a_server_that_ends_the_stream_has_turned_it_away() -> None:
    flows = Flows(PORT)
    connection = Connection(flows)
    connection.packet(PREFACE + frame(DATA, REQUEST))
    connection.packet(frame(HEADERS, flags=END), client=False)
    (stream,) = flows.streams
    assert (stream.ended, stream.turned_away) == (3, True)


def test_a_connection_ends_its_streams() -> None:
    """By a reset or an orderly end, from either side; nobody was turned away."""
    flows = Flows(PORT)
    for number, (flags, client) in enumerate(
        [(RST, False), (FIN, False), (RST, True), (FIN, True)]
    ):
        connection = Connection(flows, port=CLIENT_PORT + number)
        connection.packet(PREFACE + frame(DATA, REQUEST))
        connection.packet(b"", flags | ACK, client=client)
    ended = [(stream.ended, stream.turned_away) for stream in flows.streams]
    assert ended == [(3, False)] * 4


def test_translated_answers_belong_to_the_server_behind() -> None:
    flows = Flows(PORT, ALIAS)
    connection = Connection(flows)
    connection.packet(PREFACE + frame(DATA, REQUEST))
    connection.packet(frame(SETTINGS, stream=0), client=False, server=ALIAS)
    (stream,) = flows.streams
    assert (stream.server, stream.taken) == (SERVER, 3)
