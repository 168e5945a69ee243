"""Whom WatchServers' source connects to, whatever a server lists. Real gRPC."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from consul_ebpf.client.channels import insecure_channel, target_of
from consul_ebpf.client.leader import LEADER_ADDRESS
from consul_ebpf.client.messages import LeaderAddress, Status
from consul_ebpf.client.token import StaticToken
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources import watch_failures
from consul_ebpf.servers.sources.names import Resolver
from consul_ebpf.servers.sources.watch import WatchSource
from tests.lab.answering import list_of, serving

SEED = "10.0.0.1"

INSANE = {
    "a VIP": "127.64.0.9",
    "a VIP, mapped": "::ffff:127.64.0.9",
    "mapped": "::ffff:10.0.0.9",
    "unspecified": "0.0.0.0",
    "unspecified six": "::",
    "multicast": "224.0.0.1",
    "multicast six": "ff02::1",
    "link-local": "169.254.1.1",
    "link-local six": "fe80::1",
    "broadcast": "255.255.255.255",
    "loopback": "127.0.0.1",
    "loopback six": "::1",
    "a zone": "fd00::1%eth0",
    "a port": "10.0.0.3:8500",
    "a name": "consul.example",
    "nothing": "",
}


class Dialled:
    """Leads what is dialled at the seed to a server, and all else nowhere."""

    def __init__(self, server: Server) -> None:
        self.to = target_of(server)
        self.targets: list[str] = []

    def __call__(self, target: str) -> Any:
        self.targets.append(target)
        there = target == f"ipv4:{SEED}:8502"
        return insecure_channel(self.to if there else "ipv4:127.0.0.1:1")


def source(dialled: Dialled, *seeds: str) -> WatchSource:
    resolver = Resolver(seeds, 8502, 60)
    return WatchSource(resolver, dialled, token=StaticToken("secret"))


async def stay_as_it_is(lists: Any, until: Callable[[], bool]) -> None:
    """Have no further list until this is so."""
    another = asyncio.ensure_future(anext(lists))
    try:
        async with asyncio.timeout(30):
            while not until():
                assert not another.done()
                await asyncio.sleep(0.02)
    finally:
        another.cancel()
        await asyncio.wait([another])


async def test_fault_117_what_cannot_be_a_server_is_not_dialled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The others of the list are kept, and each left out is said once."""
    listed = list_of(*INSANE.items(), ("good", "10.0.0.2"))
    async with serving(lists=[listed], hold=0.05) as server:
        dialled = Dialled(server)
        async with aclosing(source(dialled, SEED).watch()) as lists:
            servers = await anext(lists)
            await stay_as_it_is(lists, lambda: len(dialled.targets) >= 4)
    assert ["10.0.0.2:8502"] == [each.endpoint for each in servers]
    assert set(dialled.targets) <= {f"ipv4:{SEED}:8502", "ipv4:10.0.0.2:8502"}
    assert all(each.isprintable() for each in caplog.messages)


async def test_fault_117_a_list_of_nothing_else_is_none() -> None:
    """What is known stays, and another server is asked."""
    lists = [list_of(("a", "10.0.0.2")), list_of(*INSANE.items())]
    async with serving(lists=lists) as server:
        dialled = Dialled(server)
        async with aclosing(source(dialled, SEED).watch()) as watching:
            assert ["a"] == [each.id for each in await anext(watching)]
            other = "ipv4:10.0.0.2:8502"
            await stay_as_it_is(watching, lambda: other in dialled.targets)


async def test_fault_117_seeds_are_looked_at_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A name may lead to anything."""
    caplog.set_level(logging.DEBUG, logger=watch_failures.__name__)
    async with serving(lists=[]) as server:
        dialled = Dialled(server)
        watching = source(dialled, "127.64.0.9", "224.0.0.1", "0.0.0.0").watch()
        async with aclosing(watching) as lists:
            said = "no seed leads to an address that a server can have"
            await stay_as_it_is(lists, lambda: caplog.text.count(said) >= 2)
    assert [] == dialled.targets


def refusing(leader: str) -> Any:
    """Refuse a peering's stream as a follower does that knows this leader."""
    address = LeaderAddress(address=leader).SerializeToString()
    status = Status()
    url = f"type.googleapis.com{LEADER_ADDRESS}"
    status.details.add(type_url=url, value=address)
    details = (("grpc-status-details-bin", status.SerializeToString()),)

    async def refuse(context: Any) -> bytes:
        code = grpc.StatusCode.FAILED_PRECONDITION
        await context.abort(code, "a follower", trailing_metadata=details)
        return b""

    return refuse


async def test_fault_116_a_server_without_a_leader_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """For the next one of its own list; one that has a leader is not left."""
    async with serving(
        refusing(""), [list_of(("a", SEED), ("b", "10.0.0.2"))]
    ) as server:
        dialled = Dialled(server)
        resolver = Resolver([SEED], 8502, 60)
        lost = WatchSource(resolver, dialled, leaderless=0.3)
        async with aclosing(lost.watch()) as lists:
            assert 2 == len(await anext(lists))
            other = "ipv4:10.0.0.2:8502"
            await stay_as_it_is(lists, lambda: other in dialled.targets)
    said = f"WatchServers: {SEED}:8502 has no leader; asking another server"
    assert 1 == caplog.messages.count(said)

    async with serving(refusing("10.0.0.3:8300"), [list_of(("a", SEED))]) as server:
        dialled = Dialled(server)
        led = WatchSource(Resolver([SEED], 8502, 60), dialled, leaderless=0.2)
        async with aclosing(led.watch()) as lists:
            assert 1 == len(await anext(lists))
            over = time.monotonic() + 4 * 0.2
            await stay_as_it_is(lists, lambda: time.monotonic() > over)
    assert 2 == len(dialled.targets), "its list, and whether it has a leader"


async def test_a_server_on_this_host_may_list_another() -> None:
    """As in a cluster for development."""
    listed = list_of(("a", "127.0.0.1"), ("b", "127.0.0.2"))
    async with serving(lists=[listed]) as server:
        resolver = Resolver([server.endpoint], 8502, 60)
        async with aclosing(WatchSource(resolver, insecure_channel).watch()) as lists:
            servers = await anext(lists)
    assert ["127.0.0.1:8502", "127.0.0.2:8502"] == [s.endpoint for s in servers]
