"""The question to a server's DNS, on loopback: what a health verdict is made from."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest

from consul_ebpf.dns.probe import KNOWN_SECONDS, MAX_STRAYS, DnsProbe, question
from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import Server, Service

TIMEOUT = 0.3
A, B = (Server.at(f"10.0.0.{n}", 8502) for n in (1, 2))

Answer = Callable[[dns.message.Message], list[bytes]]
"""Makes the datagrams that come back for a query."""


class Responder(asyncio.DatagramProtocol):
    """Answers each query as it is told, and remembers them."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[dns.message.Message] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        for wire in self.answer(query):
            self.transport.sendto(wire, addr)


@asynccontextmanager
async def responding(
    answer: Answer, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[DnsProbe, Server, Responder]]:
    """Yield a probe, the server to check, and what answers there."""
    responder = Responder(answer)
    loop = asyncio.get_running_loop()
    made = loop.create_datagram_endpoint(lambda: responder, local_addr=(host, 0))
    transport, _ = await made
    port = transport.get_extra_info("sockname")[1]
    try:
        # The gRPC port is another, and of no matter.
        yield (
            DnsProbe(Service("dns", port), "consul.", timeout=TIMEOUT),
            Server.at(host, 8502),
            responder,
        )
    finally:
        transport.close()


def saying(rcode: dns.rcode.Rcode, *, flags: int = 0) -> Answer:
    def answer(query: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(query)
        reply.set_rcode(rcode)
        reply.flags |= flags
        return [reply.to_wire()]

    return answer


GOOD = saying(dns.rcode.NOERROR)


@pytest.mark.parametrize(
    ("rcode", "alive"),
    [
        ("NOERROR", True),
        ("NXDOMAIN", True),
        ("REFUSED", True),
        ("SERVFAIL", False),
        ("NOTIMP", False),
        ("FORMERR", False),
    ],
)
async def test_fault_148_the_rcode_decides(rcode: str, alive: bool) -> None:
    """What a server of any configuration answers that works, and what none does."""
    async with responding(saying(dns.rcode.from_text(rcode))) as (probe, server, _):
        said = f"{rcode} for consul.service.consul."
        assert Health(alive=alive, reason=said) == await probe.check(server)


async def test_the_question_is_one_that_consul_answers_itself() -> None:
    """Each with an id of its own, so that an old answer is none to a new question."""
    async with responding(GOOD) as (probe, server, responder):
        for _ in range(4):
            assert (await probe.check(server)).alive
    assert len({query.id for query in responder.asked}) > 1
    (question,) = {str(query.question[0]) for query in responder.asked}
    assert question == "consul.service.consul. IN A"


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("consul", "consul.service.consul."),
        ("corp.example.", "consul.service.corp.example."),
        ("", "consul.service."),
    ],
)
def test_the_name_is_in_consuls_domain(domain: str, name: str) -> None:
    """However that is written."""
    assert name == str(question(domain).question[0].name)


async def test_a_domain_that_is_none_is_no_health() -> None:
    """And no exception."""
    probe = DnsProbe(Service("dns", 8600), "a..b", timeout=TIMEOUT)
    verdict = await probe.check(A)
    assert not verdict.alive
    assert "EmptyLabel" in verdict.reason


async def test_a_truncated_answer_is_an_answer() -> None:
    """Its flag says that there is more; the server works."""
    answer = saying(dns.rcode.NOERROR, flags=dns.flags.TC)
    async with responding(answer) as (probe, server, _):
        assert (await probe.check(server)).alive


async def test_ipv6_is_asked() -> None:
    """Where the server has no IPv4 address."""
    async with responding(GOOD, "::1") as (probe, server, _):
        assert (await probe.check(server)).alive


def other_id(query: dns.message.Message) -> bytes:
    reply = dns.message.make_response(query)
    reply.id = query.id ^ 1
    return reply.to_wire()


def other_question(query: dns.message.Message) -> bytes:
    reply = dns.message.make_response(dns.message.make_query("web.consul.", "A"))
    reply.id = query.id
    return reply.to_wire()


def cut(query: dns.message.Message) -> bytes:
    return dns.message.make_response(query).to_wire()[:20]


STRAYS = {
    "another id": other_id,
    "another question": other_question,
    "cut off": cut,
    "the query itself": lambda query: query.to_wire(),
    "garbage": lambda _: bytes(range(256)) * 8,
    "nothing in it": lambda _: b"",
}


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS.keys())
async def test_fault_150_what_is_no_answer_is_not_taken_for_one(
    stray: Callable[[dns.message.Message], bytes],
) -> None:
    """Alone it is as silence; the right answer behind it is still heard."""
    async with responding(lambda query: [stray(query)]) as (probe, server, _):
        begun = asyncio.get_running_loop().time()
        said = Health(alive=False, reason="no answer in 0.3 s")
        assert said == await probe.check(server)
        assert TIMEOUT <= asyncio.get_running_loop().time() - begun < 3 * TIMEOUT
    both: Answer = lambda query: [stray(query), *GOOD(query)]  # noqa: E731
    async with responding(both) as (probe, server, _):
        assert (await probe.check(server)).alive


async def test_fault_150_a_flood_ends_a_probe() -> None:
    """Before its deadline: it must not keep the controller busy."""
    flood: Answer = lambda query: [other_id(query)] * 200  # noqa: E731
    async with responding(flood) as (probe, server, _):
        verdict = await probe.check(server)
    said = f"{MAX_STRAYS} datagrams that are no answer"
    assert Health(alive=False, reason=said) == verdict


async def test_a_server_that_cannot_be_reached_is_dead() -> None:
    """Whatever the kernel says of it: here the address is nobody's to send to."""
    probe = DnsProbe(Service("dns", 8600), "consul", timeout=TIMEOUT)
    verdict = await probe.check(Server.at("255.255.255.255", 8502))
    assert Health(alive=False, reason="Permission denied") == verdict


@pytest.mark.looptime
async def test_fault_148_a_server_that_denies_what_others_know_is_not_alive() -> None:
    """It was just started; once nobody knows it any more, all are alive again."""
    answers = {A: dns.rcode.NXDOMAIN, B: dns.rcode.NXDOMAIN}

    class Two(DnsProbe):
        def judge(self, server: Server) -> Health:
            reply = dns.message.make_response(question("consul"))
            reply.set_rcode(answers[server])
            return self._judge(server, reply)

    probe = Two(Service("dns", 8600), "consul")
    for server in (A, B):
        assert probe.judge(server).alive
    answers[A] = dns.rcode.NOERROR
    assert probe.judge(A).alive
    said = "NXDOMAIN for consul.service.consul., which others know"
    assert Health(alive=False, reason=said, sure=True) == probe.judge(B)
    answers[A] = dns.rcode.NXDOMAIN
    for server in (A, B):
        assert probe.judge(server).alive
    answers[A] = dns.rcode.NOERROR
    probe.judge(A)
    await asyncio.sleep(KNOWN_SECONDS)
    assert probe.judge(B).alive


async def test_a_closed_port_is_beyond_doubt() -> None:
    """The host says so itself."""
    async with responding(GOOD) as (probe, server, _):
        pass
    said = Health(alive=False, reason="Connection refused", sure=True)
    assert said == await probe.check(server)
