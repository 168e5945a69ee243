"""A small name server on loopback, over UDP and TCP, which answers as a test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from consul_ebpf.servers.sources import dns as ours

Answer = Callable[[str, str], list[str] | dns.rcode.Rcode]
"""Name without its last dot and type, to texts of records or what is wrong."""


class Nameserver:
    """What was asked, and how."""

    def __init__(self, answer: Answer, ttl: int, *, edns: bool) -> None:
        self._answer = answer
        self._ttl = ttl
        self._edns = edns
        self.port = 0
        self.asked: list[tuple[str, str, str]] = []
        """Name, type, and "udp", "udp+edns", "tcp" or "tcp+edns"."""

    def resolver(self) -> ours.Resolve:
        """Make what asks it."""
        made = dns.asyncresolver.Resolver(configure=False)
        made.nameservers, made.port, made.lifetime = ["127.0.0.1"], self.port, 2.0
        return ours.asking(made)

    def reply(self, wire: bytes, way: str) -> bytes:
        """Answer one message; over UDP what is too long is cut off and says so."""
        query = dns.message.from_wire(wire)
        (question,) = query.question
        name, kind = question.name.to_text().rstrip("."), question.rdtype.name
        edns = query.edns >= 0
        self.asked.append((name, kind, f"{way}+edns" if edns else way))
        reply = dns.message.make_response(query)
        if edns and not self._edns:
            reply.use_edns(-1)
            reply.set_rcode(dns.rcode.FORMERR)
            return reply.to_wire()
        found = self._answer(name, kind)
        if isinstance(found, dns.rcode.Rcode):
            reply.set_rcode(found)
        elif found:
            made = dns.rrset.from_text(question.name, self._ttl, "IN", kind, *found)
            reply.answer.append(made)
        try:
            limit = (query.payload if edns else 512) if way == "udp" else 65535
            return reply.to_wire(max_size=limit)
        except dns.exception.TooBig:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            return reply.to_wire()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: Nameserver) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(self._server.reply(data, "udp"), addr)


@contextlib.asynccontextmanager
async def nameserver(
    answer: Answer, *, ttl: int = 0, edns: bool = True
) -> AsyncIterator[Nameserver]:
    """Serve for as long as the block lasts."""
    server = Nameserver(answer, ttl, edns=edns)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            length = int.from_bytes(await reader.readexactly(2))
            reply = server.reply(await reader.readexactly(length), "tcp")
            writer.write(len(reply).to_bytes(2) + reply)
            await writer.drain()
        writer.close()

    tcp = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.port = tcp.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Udp(server), ("127.0.0.1", server.port)
    )
    try:
        yield server
    finally:
        transport.close()
        tcp.close()
        await tcp.wait_closed()
