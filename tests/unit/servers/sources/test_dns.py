"""DNS as name servers really answer; dnspython asks one on loopback."""

import asyncio
import random
from collections.abc import Awaitable
from contextlib import aclosing

import dns.rcode
import pytest

from consul_ebpf.config.seeds import Name
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.servers.sources.dns import look_up
from consul_ebpf.servers.sources.names import Resolver, ResolvingSource
from consul_ebpf.servers.sources.union import Found
from tests.lab.nameserver import Answer, Nameserver, nameserver

PORT = 8502


async def find(server: Nameserver, name: str) -> Found:
    return await look_up(Name(name, PORT), 60.0, server.resolver)


def records(**known: list[str] | dns.rcode.Rcode) -> Answer:
    """Answer by `name_TYPE`, with dots for further underlines; else NXDOMAIN."""
    table = {key.replace("__", "."): value for key, value in known.items()}

    def answer(name: str, kind: str) -> list[str] | dns.rcode.Rcode:
        exact = table.get(f"{name.removeprefix('_')}_{kind}")
        if exact is not None:
            return exact
        others = any(each.rpartition("_")[0] == name for each in table)
        return [] if others else dns.rcode.NXDOMAIN

    return answer


def many(number: int) -> list[str]:
    return [f"10.0.{each // 250}.{each % 250 + 1}" for each in range(number)]


async def test_fault_124_a_long_answer_is_had_whole() -> None:
    """With EDNS over UDP; what is too long for that over TCP."""
    known = records(c__test_A=many(60), d__test_A=many(200))
    async with nameserver(known) as server:
        assert 60 == len((await find(server, "c.test")).servers)
        assert {"udp+edns"} == {way for _, _, way in server.asked}
        assert 200 == len((await find(server, "d.test")).servers)
        assert ("d.test", "A", "tcp+edns") in server.asked


async def test_fault_124_a_name_server_without_edns_is_asked_without() -> None:
    """It answers EDNS with an error."""
    async with nameserver(records(c__test_A=many(100)), edns=False) as server:
        assert 100 == len((await find(server, "c.test")).servers)
        assert ("c.test", "A", "tcp") in server.asked


async def test_fault_124_a_stale_target_is_left_out_alone() -> None:
    """One without any address, one that nobody knows; said with both names."""
    known = records(
        grpc__c__test_SRV=[
            "1 1 8503 a.test.",
            "1 1 8503 gone.test.",
            "1 1 8503 empty.test.",
        ],
        a__test_A=["10.0.0.1"],
        empty__test_TXT=["x"],
    )
    async with nameserver(known) as server:
        found = await find(server, "_grpc.c.test")
    assert ["10.0.0.1:8503"] == [each.endpoint for each in found.servers]
    assert 2 == len(found.left_out)
    for line, name in zip(found.left_out, ("empty.test", "gone.test"), strict=True):
        assert line.startswith(f"DNS name _grpc.c.test: left out its target {name}.: ")
        assert line.isprintable()
    assert not found.partial


async def test_fault_124_a_target_that_cannot_be_asked_is_not_gone() -> None:
    """A name server in trouble says nothing about it; nor of one family alone."""
    known = records(
        grpc__c__test_SRV=["1 1 8503 a.test.", "1 1 8503 b.test."],
        a__test_A=["10.0.0.1"],
        b__test_A=dns.rcode.SERVFAIL,
        b__test_AAAA=dns.rcode.SERVFAIL,
        half__test_A=["10.0.0.1"],
        half__test_AAAA=dns.rcode.SERVFAIL,
    )
    async with nameserver(known) as server:
        found = await find(server, "_grpc.c.test")
        assert found.partial
        assert 1 == len(found.servers) == len(found.left_out)
        assert (await find(server, "half.test")).partial
        assert not (await find(server, "a.test")).partial


async def test_fault_124_nothing_good_is_an_error() -> None:
    """No target with an address; too many records; a name that can be none."""
    known = records(
        grpc__c__test_SRV=["1 1 8503 gone.test."],
        many__test_A=many(300),
        lots__c__test_SRV=[f"1 1 {port} a.test." for port in range(1, 400)],
    )
    async with nameserver(known) as server:
        with pytest.raises(ConsulError, match=r"_grpc.c.test: .*gone.test"):
            await find(server, "_grpc.c.test")
        with pytest.raises(ConsulError, match="300 A records; at most 256"):
            await find(server, "many.test")
        with pytest.raises(ConsulError, match="399 SRV records; at most 256"):
            await find(server, "_lots.c.test")
        with pytest.raises(ConsulError, match="DNS name aaaa"):
            await find(server, "a" * 200)


async def test_fault_124_random_answers_of_a_real_name_server() -> None:
    """Three of five with a TTL of 0: the list is whole soon, and then never changes."""
    choice = random.Random(4711)
    addresses = [f"10.0.0.{number}" for number in range(1, 6)]

    def answer(_: str, kind: str) -> list[str]:
        return choice.sample(addresses, 3) if kind == "A" else []

    async with nameserver(answer) as server:

        def ask(name: Name, refresh: float) -> Awaitable[Found]:
            return look_up(name, refresh, server.resolver)

        source = ResolvingSource(Resolver(["consul.test"], PORT, 60, ask))
        async with aclosing(source.watch()) as watching:
            while len(await anext(watching)) < 5:
                pass
            another = asyncio.ensure_future(anext(watching))
            asked = len(server.asked)
            while len(server.asked) < asked + 2 * 3:  # A and AAAA, once a second
                await asyncio.sleep(0.05)
            assert not another.done()
            another.cancel()
            await asyncio.wait([another])
