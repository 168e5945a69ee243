"""The service of DNS with tables in memory, in virtual time."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.dns import DnsService
from consul_ebpf.model.errors import KernelError, UnsupportedError
from consul_ebpf.model.seams import Applied
from consul_ebpf.model.values import PooledServer, Server, ServerState, Service, Vip
from consul_ebpf.servers.pool import ServerPool
from consul_ebpf.testing import (
    FakeNamespaces,
    FakeProbe,
    FakeServerSource,
    MemoryMapBackend,
)

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

DNS = Service("dns", 8600)
VIP = Vip(IPv4Address("127.64.0.53"), 53)
A, B, C = (Server.at(f"10.0.0.{i}", 8502) for i in (1, 2, 3))
READY, FAILING = ServerState.READY, ServerState.FAILING


class Host:
    """A service of DNS, with all that it works on."""

    def __init__(self, backend: MemoryMapBackend | None = None) -> None:
        self.source = FakeServerSource([A, B, C])
        self.grpc, self.dns = FakeProbe(), FakeProbe()
        self.backend = backend or MemoryMapBackend(capacity=1)
        self.sockets = {1: replace(A, port=8600), 2: replace(B, port=8600), 3: A}
        self.namespaces = FakeNamespaces(sockets=self.sockets)
        self.missing: Latest[str] = Latest()
        self.known: tuple[PooledServer, ...] = ()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        pool = ServerPool(self.source, self.grpc)
        names = ServerPool(pool, self.dns, service=DNS, known=self.known)
        service = DnsService(
            names,
            self.backend,
            VIP,
            seed="host",
            namespaces=self.namespaces,
            missing=self.missing,
        )
        task = asyncio.create_task(service.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task])

    @property
    def rows(self) -> dict[str, ServerState]:
        """The servers' rows, by where they are."""
        rows = self.backend.read().table.servers.values()
        return {row.server.endpoint: row.state for row in rows}

    @property
    def vips(self) -> dict[Vip, int]:
        """How many choices each VIP has."""
        return {vip: len(set(p)) for vip, p in self.backend.read().table.vips.items()}


def at(**states: ServerState) -> dict[str, ServerState]:
    numbers = {"a": 1, "b": 2, "c": 3}
    return {f"10.0.0.{numbers[name]}:8600": state for name, state in states.items()}


async def test_the_vip_leads_to_the_servers_dns_ports() -> None:
    """All of them, whatever their gRPC port does."""
    host = Host()
    host.grpc.kill(B.id)
    async with host.serving():
        await asyncio.sleep(5)
        assert at(a=READY, b=READY, c=READY) == host.rows
        assert {VIP: 3} == host.vips
        assert host.missing.value == ""


async def test_a_dead_server_is_one_write_and_comes_back_by_one() -> None:
    """It keeps its place in the preference meanwhile."""
    host = Host()
    async with host.serving():
        await asyncio.sleep(5)
        written = len(host.backend.applied)
        host.dns.kill(B.id)
        await asyncio.sleep(10)
        assert at(a=READY, b=FAILING, c=READY) == host.rows
        host.dns.revive(B.id)
        await asyncio.sleep(10)
        writes = [each for each in host.backend.applied[written:] if each]
        assert [Applied(servers=1), Applied(servers=1)] == writes
        assert {VIP: 3} == host.vips


async def test_servers_come_and_go() -> None:
    """One that left drains; the VIP's choices are those that are listed."""
    host = Host()
    async with host.serving():
        await asyncio.sleep(5)
        host.source.set([B, C])
        await asyncio.sleep(5)
        drains = at(a=ServerState.DRAINING, b=READY, c=READY)
        assert drains == host.rows
        assert {VIP: 2} == host.vips


async def test_only_connections_to_the_dns_of_a_dead_server_are_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not those to its gRPC port."""
    host = Host()
    async with host.serving():
        await asyncio.sleep(5)
        host.backend.connect(VIP, cookie=1)
        vip = host.backend.read().vips[VIP]
        ((_, slot),) = vip.sockets
        used = host.backend.read().table.servers[slot].server
        host.namespaces.sockets = {1: used, 2: replace(used, port=8502)}
        host.dns.hang(f"{used.address}:8502")
        await asyncio.sleep(15)
        assert set(host.namespaces.sockets) == {2}
    cut = [each for each in caplog.messages if "cut 1 connections of resolvers" in each]
    assert [f"dead: {used.endpoint}; cut 1 connections of resolvers to there"] == cut


async def test_fault_149_without_any_dns_a_query_fails_at_once() -> None:
    """And that is what is missing, until one answers."""
    host = Host()
    host.dns.kill(A.id, B.id, C.id)
    async with host.serving():
        await asyncio.sleep(5)
        assert at(a=FAILING, b=FAILING, c=FAILING) == host.rows
        assert host.backend.connect(VIP) is None
        said = "DNS: no server's DNS port answers, so queries to 127.64.0.53:53 fail"
        assert said == host.missing.value
        host.dns.revive(A.id)
        await asyncio.sleep(5)
        assert host.missing.value == ""
        assert host.backend.connect(VIP) is not None


async def test_a_start_goes_on_with_what_the_kernel_has() -> None:
    """Its slots and states, before anybody was asked."""
    host = Host()
    async with host.serving():
        await asyncio.sleep(5)
        host.dns.kill(B.id)
        await asyncio.sleep(5)
    before = host.backend.read().table
    again = Host(host.backend)
    again.known = (PooledServer(A, READY, service=DNS), PooledServer(B, FAILING))
    again.known = tuple(replace(each, service=DNS) for each in again.known)
    again.source = FakeServerSource()
    async with again.serving():
        await asyncio.sleep(0.5)
        rows = again.backend.read().table.servers
        for slot, row in rows.items():
            assert (row.endpoint, row.state) == (
                before.servers[slot].endpoint,
                before.servers[slot].state,
            )


class Refusing(MemoryMapBackend):
    """Refuses each write until it is told otherwise."""

    refuses: Exception | None = None
    calls = 0

    def apply(self, *what: object) -> Applied:
        self.calls += 1
        if self.refuses is not None:
            raise self.refuses
        return super().apply(*what)  # type: ignore[arg-type]


async def test_fault_153_a_kernel_that_refuses_is_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a growing pause, and said once; what is missing says so meanwhile."""
    backend = Refusing(capacity=1)
    host = Host(backend)
    backend.refuses = KernelError("writing the tables failed; trying again")
    async with host.serving():
        await asyncio.sleep(60)
        said = "DNS: writing the tables failed; trying again"
        assert said == host.missing.value
        assert 5 < backend.calls < 15
        backend.refuses = None
        await asyncio.sleep(31)
        assert at(a=READY, b=READY, c=READY) == host.rows
        assert host.missing.value == ""
    assert 1 == caplog.messages.count(said)


async def test_fault_153_what_others_took_away_is_put_back_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every two seconds somebody looks."""
    host = Host()
    async with host.serving():
        await asyncio.sleep(5)
        host.backend.broken = ("connect4 was detached; attached it again",)
        await asyncio.sleep(2.1)
    assert "DNS: connect4 was detached; attached it again" in caplog.messages


async def test_fault_153_what_cannot_go_on_does_not_end_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error after which there is no writing any more: tried again, slowly."""
    caplog.set_level(logging.CRITICAL, "asyncio")
    backend = Refusing(capacity=1)
    host = Host(backend)
    backend.refuses = UnsupportedError("the kernel cannot")
    async with host.serving():
        await asyncio.sleep(300)
        assert backend.calls < 60
        backend.refuses = None
        await asyncio.sleep(120)
        assert at(a=READY, b=READY, c=READY) == host.rows
