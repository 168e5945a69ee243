"""What every `HealthProbe` does: the fake one, gRPC's and DNS's, these on loopback."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.client.leader import METHOD as LEADER
from consul_ebpf.dns.probe import DnsProbe
from consul_ebpf.model.seams import Health, HealthProbe
from consul_ebpf.model.values import Server, Service
from consul_ebpf.servers import probe as probe_module
from consul_ebpf.servers.probe import CHECK, FEATURES, GrpcProbe
from consul_ebpf.testing import FakeProbe

TIMEOUT = 0.5


class FakeWorld:
    """A server that exists in the fake probe's mind."""

    late, refused = "DEADLINE_EXCEEDED", "UNAVAILABLE"

    def __init__(self) -> None:
        self.probe: HealthProbe = FakeProbe(timeout=TIMEOUT)
        self.server = Server.at("10.0.0.1", 8502)

    async def hang(self) -> None:
        self._fake.hang(self.server.id)

    async def kill(self) -> None:
        self._fake.kill(self.server.id)

    async def restore(self) -> None:
        self._fake.revive(self.server.id)

    async def close(self) -> None:
        await self.probe.aclose()

    @property
    def _fake(self) -> FakeProbe:
        assert isinstance(self.probe, FakeProbe)
        return self.probe


CHILD = """
import asyncio, sys, grpc
async def main():
    server = grpc.aio.server()
    port = server.add_insecure_port(sys.argv[1])
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()
asyncio.run(main())
"""


class RealWorld:
    """A gRPC server without services, in a process that can be stopped and killed."""

    late, refused = "DEADLINE_EXCEEDED", "UNAVAILABLE"
    code = CHILD

    def __init__(self) -> None:
        self.probe: HealthProbe = GrpcProbe(timeout=TIMEOUT)
        self.child, port = start_child(self.code, "127.0.0.1:0")
        self.server = Server.at("127.0.0.1", port)

    async def hang(self) -> None:
        self.child.send_signal(signal.SIGSTOP)

    async def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    async def restore(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
        else:
            close_output(self.child)
            self.child, _ = start_child(self.code, self.server.endpoint)

    async def close(self) -> None:
        self.child.kill()
        self.child.wait()
        close_output(self.child)
        await self.probe.aclose()


NAMESERVER = """
import dns.message, dns.rcode, socket, sys
host, _, port = sys.argv[1].rpartition(":")
served = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
served.bind((host, int(port)))
print(served.getsockname()[1], flush=True)
while True:
    wire, client = served.recvfrom(512)
    reply = dns.message.make_response(dns.message.from_wire(wire))
    reply.set_rcode(dns.rcode.NXDOMAIN)
    served.sendto(reply.to_wire(), client)
"""


class NameserverWorld(RealWorld):
    """A name server, which knows no name."""

    late, refused = "no answer in 0.5 s", "Connection refused"
    code = NAMESERVER

    def __init__(self) -> None:
        super().__init__()
        self.probe = DnsProbe(Service("dns"), "consul", timeout=TIMEOUT)


def start_child(code: str, address: str) -> tuple[subprocess.Popen[str], int]:
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-c", code, address],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )
    assert child.stdout
    return child, int(child.stdout.readline())


def close_output(child: subprocess.Popen[str]) -> None:
    assert child.stdout
    child.stdout.close()


World = FakeWorld | RealWorld


@pytest.fixture(params=[FakeWorld, RealWorld, NameserverWorld])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world = request.param()
    yield world
    await world.close()


async def settle(world: World, *, alive: bool) -> Health:
    """Probe each half second until the verdict is so: what a pool does."""
    verdict = await world.probe.check(world.server)
    async with asyncio.timeout(10):
        while verdict.alive is not alive:
            await asyncio.sleep(0.5)
            verdict = await world.probe.check(world.server)
    return verdict


async def test_a_server_that_answers_is_alive(world: World) -> None:
    """Again and again."""
    for _ in range(3):
        assert (await world.probe.check(world.server)).alive


async def test_fault_08_a_server_that_hangs_is_dead_within_the_deadline(
    world: World,
) -> None:
    """It accepts TCP connections. When it goes on it is alive again."""
    await world.probe.check(world.server)
    await world.hang()
    begun = asyncio.get_running_loop().time()
    verdict = await world.probe.check(world.server)
    assert not verdict.alive
    assert world.late in verdict.reason
    assert TIMEOUT / 2 < asyncio.get_running_loop().time() - begun < 2 * TIMEOUT
    await world.restore()
    await settle(world, alive=True)


async def test_fault_06_a_server_that_is_gone_is_dead_at_once(world: World) -> None:
    """Refused. When it is back it is alive again."""
    await world.probe.check(world.server)
    await world.kill()
    begun = asyncio.get_running_loop().time()
    verdict = await world.probe.check(world.server)
    assert not verdict.alive
    assert world.refused in verdict.reason
    assert asyncio.get_running_loop().time() - begun < TIMEOUT / 2
    await world.restore()
    await settle(world, alive=True)


async def test_a_server_that_is_back_is_alive_at_the_next_check(world: World) -> None:
    """However soon, and however often it was refused before.

    What was true a moment ago would be the last of three failures, and the connections
    that have just moved to the server would be cut.
    """
    await world.probe.check(world.server)
    await world.kill()
    for _ in range(2):
        assert not (await world.probe.check(world.server)).alive
    await world.restore()
    assert (await world.probe.check(world.server)).alive


async def test_a_check_can_be_cancelled(world: World) -> None:
    """And the next one is none the worse for it."""
    await world.hang()
    check = asyncio.create_task(world.probe.check(world.server))
    await asyncio.sleep(0.1)
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    await world.restore()
    await settle(world, alive=True)


async def test_it_can_be_closed_and_used_again(world: World) -> None:
    """A pool that stops closes its probe, and may start again."""
    await world.probe.check(world.server)
    await world.probe.aclose()
    await world.probe.aclose()
    assert (await world.probe.check(world.server)).alive


# What only a real server can answer.


class Answers(grpc.GenericRpcHandler):  # type: ignore[misc] # untyped
    """Answers each method with what it is told, and counts."""

    def __init__(self, answers: dict[str, Callable[[Any], Any]]) -> None:
        self.answers = answers
        self.called: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        answer = self.answers.get(details.method)
        if answer is None:
            return None

        async def call(request: bytes, context: grpc.aio.ServicerContext) -> Any:
            self.called.append(details.method)
            return await answer(context)

        return grpc.unary_unary_rpc_method_handler(call)


def aborts(code: grpc.StatusCode) -> Callable[[Any], Any]:
    return lambda context: context.abort(code, "because\nof the test")


async def ok(_: Any) -> bytes:
    return b""


async def probed(
    answers: dict[str, Callable[[Any], Any]], times: int = 1
) -> tuple[Health, list[str]]:
    """Probe a server of these answers; give the last verdict and what was called."""
    handler = Answers(answers)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    probe = GrpcProbe(timeout=TIMEOUT)
    try:
        for _ in range(times):
            verdict = await probe.check(Server.at("127.0.0.1", port))
    finally:
        await probe.aclose()
        await server.stop(None)
    return verdict, handler.called


@pytest.mark.parametrize(
    ("code", "alive"),
    [
        ("UNAUTHENTICATED", True),
        ("PERMISSION_DENIED", True),
        ("RESOURCE_EXHAUSTED", True),
        ("UNAVAILABLE", False),
        ("DEADLINE_EXCEEDED", False),
        ("INTERNAL", False),
    ],
)
@pytest.mark.parametrize("with_health", [True, False])
async def test_the_status_decides(code: str, alive: bool, with_health: bool) -> None:
    """Of either call: what a working server decided proves that it works."""
    method = CHECK if with_health else FEATURES
    verdict, called = await probed({method: aborts(grpc.StatusCode[code])})
    assert (alive, f"{code}: because of the test") == (verdict.alive, verdict.reason)
    assert [method] == called


async def test_the_fallback_is_remembered() -> None:
    """A server without grpc.health.v1 is asked for it once, not each time."""
    answers = {CHECK: aborts(grpc.StatusCode.UNIMPLEMENTED), FEATURES: ok}
    verdict, called = await probed(answers, times=3)
    assert Health(alive=True, reason="OK") == verdict
    assert [CHECK, FEATURES, FEATURES, FEATURES] == called


async def test_the_question_for_the_leader_is_a_probe() -> None:
    """Each probe but a connection's first is one call."""
    answers = {
        CHECK: aborts(grpc.StatusCode.UNIMPLEMENTED),
        LEADER: aborts(grpc.StatusCode.INVALID_ARGUMENT),
    }
    verdict, called = await probed(answers, times=4)
    assert Health(alive=True, reason="OK", leader=True) == verdict
    assert [CHECK, LEADER, LEADER, LEADER, LEADER] == called


async def test_a_server_that_does_not_know_the_question_is_asked_another() -> None:
    """Whatever it says to it: what it serves of the dataplanes' service counts."""
    answers = {
        CHECK: aborts(grpc.StatusCode.UNIMPLEMENTED),
        FEATURES: ok,
        LEADER: aborts(grpc.StatusCode.INTERNAL),
    }
    verdict, called = await probed(answers, times=2)
    assert Health(alive=True, reason="OK") == verdict
    assert [CHECK, LEADER, FEATURES, FEATURES] == called


async def test_a_server_that_leaves_the_question_unanswered_is_dead() -> None:
    """Within the timeout, and by that one call."""

    async def hangs(_: Any) -> bytes:
        await asyncio.sleep(10 * TIMEOUT)
        return b""

    answers = {CHECK: aborts(grpc.StatusCode.UNIMPLEMENTED), LEADER: hangs}
    verdict, called = await probed(answers)
    assert not verdict.alive
    assert "DEADLINE_EXCEEDED" in verdict.reason
    assert [CHECK, LEADER] == called


@pytest.mark.parametrize(
    ("status", "alive"), [("SERVING", True), ("NOT_SERVING", False), ("UNKNOWN", False)]
)
async def test_grpc_health_is_believed(status: str, alive: bool) -> None:
    """Where it is served, as by Envoy in front of a server."""
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("", HealthCheckResponse.ServingStatus.Value(status))
    add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    probe = GrpcProbe()
    try:
        verdict = await probe.check(Server.at("127.0.0.1", port))
    finally:
        await probe.aclose()
        await server.stop(None)
    assert Health(alive=alive, reason=status) == verdict


@pytest.mark.parametrize(
    "answer",
    [
        b"\x08\x63",
        b"\x08\xff\xff\xff\xff\x0f",
        b"\xff\xff",
        b"\x0a\x05x",
    ],
    ids=["status 99", "status -1", "garbage", "cut"],
)
async def test_fault_114_a_health_answer_that_is_none_is_no_health(
    answer: bytes,
) -> None:
    """As gRPC's own clients take it; the reason is one printable line."""

    async def says(_: Any) -> bytes:
        return answer

    verdict, called = await probed({CHECK: says, FEATURES: ok})
    assert not verdict.alive
    assert verdict.reason.isprintable()
    assert [CHECK] == called


async def test_fault_114_whatever_a_channel_raises_is_a_verdict() -> None:
    """Out of descriptors, for one."""

    def factory(_: str) -> Any:
        raise OSError(24, "Too many open files")

    probe = GrpcProbe(channel_factory=factory)
    verdict = await probe.check(Server.at("10.0.0.1", 8502))
    why = "the probe failed: Too many open files"
    assert Health(alive=False, reason=why) == verdict


async def test_both_calls_share_one_deadline() -> None:
    """A server that is slow twice takes no longer than one that is slow once."""

    async def slow(context: Any) -> Any:
        await asyncio.sleep(TIMEOUT * 0.95)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    begun = asyncio.get_running_loop().time()
    verdict, _ = await probed({CHECK: slow, FEATURES: slow})
    assert not verdict.alive
    assert asyncio.get_running_loop().time() - begun < TIMEOUT * 1.85


@contextmanager
def listening(host: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        yield listener


async def test_a_port_that_only_accepts_is_dead() -> None:
    """TCP is not enough."""
    with listening("127.0.0.1") as listener:
        probe = GrpcProbe(timeout=TIMEOUT)
        verdict = await probe.check(Server.at("127.0.0.1", listener.getsockname()[1]))
        await probe.aclose()
    assert not verdict.alive


async def test_something_that_is_not_grpc_is_dead() -> None:
    """A web server on the port is no Consul server."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    web = await asyncio.start_server(speak, "127.0.0.1", 0)
    probe = GrpcProbe(timeout=TIMEOUT)
    async with web:
        port = web.sockets[0].getsockname()[1]
        assert not (await probe.check(Server.at("127.0.0.1", port))).alive
    await probe.aclose()


async def test_ipv6_is_probed() -> None:
    """The target is built right."""
    server = grpc.aio.server()
    port = server.add_insecure_port("[::1]:0")
    await server.start()
    probe = GrpcProbe()
    try:
        assert (await probe.check(Server.at("::1", port))).alive
    finally:
        await probe.aclose()
        await server.stop(None)


async def test_channels_are_made_by_the_factory_and_one_per_server() -> None:
    """A seam for TLS; the targets need no resolver."""
    targets: list[str] = []

    def factory(target: str) -> grpc.aio.Channel:
        targets.append(target)
        return insecure_channel(target)

    with listening("127.0.0.1") as one, listening("::1") as other:
        ports = [each.getsockname()[1] for each in (one, other)]
        probe = GrpcProbe(timeout=0.1, channel_factory=factory)
        for _ in range(3):
            await probe.check(Server.at("127.0.0.1", ports[0]))
            await probe.check(Server.at("::1", ports[1]))
        assert repr(probe) == "<GrpcProbe 2 channels, 0.1 s>"
        await probe.aclose()
    assert [f"ipv4:127.0.0.1:{ports[0]}", f"ipv6:[::1]:{ports[1]}"] == targets


async def test_a_new_connection_is_tried_after_some_missed_deadlines() -> None:
    """A host that went away and came back answers no old connection."""
    with listening("127.0.0.1") as listener:
        made = 0

        def factory(target: str) -> grpc.aio.Channel:
            nonlocal made
            made += 1
            return insecure_channel(target)

        probe = GrpcProbe(timeout=0.1, channel_factory=factory)
        server = Server.at("127.0.0.1", listener.getsockname()[1])
        for _ in range(probe_module.MISSES_PER_CHANNEL):
            await probe.check(server)
        assert 1 == made
        await probe.check(server)
        assert 2 == made
        await probe.aclose()
