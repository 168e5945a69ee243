"""The pool's task: cadence, subscribers, start, stop and failure. Time is virtual."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import PooledServer, Server, ServerState, Service
from consul_ebpf.servers.pool import PoolSettings, ServerPool
from consul_ebpf.testing import FakeProbe, FakeServerSource

pytestmark = pytest.mark.looptime(start=0)

READY, FAILING, DRAINING = ServerState.READY, ServerState.FAILING, ServerState.DRAINING
A, B, C = (Server.at(f"10.0.0.{i}", 8502) for i in (1, 2, 3))
Value = tuple[PooledServer, ...]

REFUSED = "UNAVAILABLE: connection refused"
NO_ANSWER = (
    f"no server answers its probe ({REFUSED}); keeping their states,"
    " check this host's network and the servers"
)
NO_SERVER = (
    "the source lists no usable server; keeping the 2 known. Consul answers so too"
    " if the ACL token lacks service:read or node:read"
)


def states(value: Value) -> dict[str, ServerState]:
    return {pooled.server.id: pooled.state for pooled in value}


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(pool: ServerPool, expected: dict[str, ServerState]) -> float:
    """Return the time at which the pool says so."""
    async with asyncio.timeout(100):
        async for value in pool:
            if states(value) == expected:
                return now()
    raise AssertionError


async def test_the_first_value_has_all_servers() -> None:
    """One that does not answer holds it up for a probe's deadline, no longer."""
    probe = FakeProbe()
    probe.hang(B.id)
    pool = ServerPool(FakeServerSource([A, B, C]), probe)
    async with asyncio.timeout(10):
        async for value in pool:
            assert {A.id: READY, B.id: FAILING, C.id: READY} == states(value)
            assert value == pool.servers
            assert pytest.approx(1.0, abs=0.1) == now()
            break


@pytest.mark.parametrize(
    ("fault", "within"), [("kill", 3.5), ("hang", 5.0)], ids=["killed", "hung"]
)
async def test_a_dead_server_is_failing_within_seconds(
    fault: str, within: float
) -> None:
    """Killed or hung, at any moment of its cadence."""
    probe = FakeProbe()
    async with ServerPool(FakeServerSource([A, B]), probe) as pool:
        await until(pool, {A.id: READY, B.id: READY})
        await asyncio.sleep(10.3)
        before = now()
        getattr(probe, fault)(B.id)
        at = await until(pool, {A.id: READY, B.id: FAILING})
        assert 1.0 < at - before < within


async def test_a_server_that_is_back_is_ready_within_seconds() -> None:
    """`rise` probes."""
    probe = FakeProbe()
    async with ServerPool(FakeServerSource([A, B]), probe) as pool:
        await until(pool, {A.id: READY, B.id: READY})
        probe.kill(B.id)
        await until(pool, {A.id: READY, B.id: FAILING})
        before = now()
        probe.revive(B.id)
        assert await until(pool, {A.id: READY, B.id: READY}) - before < 2.5


async def test_each_server_has_its_own_cadence() -> None:
    """A hung server does not slow down the others' probes, nor crowd its own."""
    probe = FakeProbe(timeout=5.0)
    probe.hang(A.id)
    async with ServerPool(FakeServerSource([A, B]), probe):
        await asyncio.sleep(60)
    assert 11 <= probe.checks[A.id] <= 13
    assert 54 <= probe.checks[B.id] <= 67


async def test_a_list_can_change_in_any_way() -> None:
    """Grown, shrunk, emptied, absurd."""
    source = FakeServerSource([A])
    async with ServerPool(source, FakeProbe()) as pool:
        await until(pool, {A.id: READY})
        source.set([A, B])
        await until(pool, {A.id: READY, B.id: READY})
        source.set([])
        await asyncio.sleep(60)
        assert {A.id: READY, B.id: READY} == states(pool.servers)
        source.set([Server.at("127.64.0.1", 8502), Server.at("0.0.0.0", 1)])
        await asyncio.sleep(60)
        assert {A.id: READY, B.id: READY} == states(pool.servers)
        source.set([B])
        await until(pool, {A.id: DRAINING, B.id: READY})


async def test_a_server_that_is_forgotten_is_probed_no_more() -> None:
    """Its task ends with it."""
    source, probe = FakeServerSource([A, B]), FakeProbe()
    async with ServerPool(source, probe) as pool:
        await until(pool, {A.id: READY, B.id: READY})
        probe.kill(A.id)
        source.set([B])
        await until(pool, {B.id: READY})
        count = probe.checks[A.id]
        await asyncio.sleep(60)
        assert count == probe.checks[A.id]
        source.set([A, B])
        await asyncio.sleep(60)
        assert {A.id: FAILING, B.id: READY} == states(pool.servers)


async def test_states_are_published_only_when_they_change() -> None:
    """Probes that say the same wake nobody."""
    values: list[Value] = []

    async with ServerPool(FakeServerSource([A, B]), FakeProbe()) as pool:

        async def collect() -> None:
            async for value in pool:
                values.append(value)  # noqa: PERF401 # as they come

        task = asyncio.create_task(collect())
        await asyncio.sleep(100)
        task.cancel()
        await asyncio.wait([task])
    assert 1 == len(values)


async def test_a_slow_subscriber_sees_the_newest_value_next() -> None:
    """There is no queue to work off."""
    source = FakeServerSource([A])
    async with ServerPool(source, FakeProbe()) as pool:
        values = aiter(pool)
        assert {A.id: READY} == states(await anext(values))
        for servers in ([A, B], [A, B, C], [B, C]):
            source.set(servers)
            await asyncio.sleep(5)
        assert {A.id: DRAINING, B.id: READY, C.id: READY} == states(await anext(values))


async def test_any_number_may_subscribe() -> None:
    """All see the same, and one who leaves stops nobody."""
    probe = FakeProbe()
    pool = ServerPool(FakeServerSource([A]), probe)

    async def first() -> Value:
        async for value in pool:
            return value
        raise AssertionError

    one = aiter(pool)
    seen = {await anext(one), await first(), await first()}
    assert 1 == len(seen)
    await asyncio.sleep(10)
    assert probe.checks[A.id] > 8
    assert repr(pool) == "<ServerPool running: 1 ready, 0 failing, 0 draining>"


async def test_it_runs_while_somebody_iterates_and_can_run_again() -> None:
    """Without `async with`; the probe is closed at each end."""
    probe = FakeProbe()
    pool = ServerPool(FakeServerSource([A]), probe)
    for _ in range(2):
        await until(pool, {A.id: READY})
        await asyncio.sleep(1)  # the loop closes the generator that `until` left
        assert probe.closed
        assert repr(pool).startswith("<ServerPool stopped: 1 ready")
        count = probe.checks[A.id]
        await asyncio.sleep(60)
        assert count == probe.checks[A.id]


async def test_the_owner_leaving_does_not_stop_a_subscriber() -> None:
    """The last one turns off the light."""
    probe = FakeProbe()
    pool = ServerPool(FakeServerSource([A]), probe)
    async with pool:
        values = aiter(pool)
        await anext(values)
    await asyncio.sleep(60)
    assert probe.checks[A.id] > 50


class BrokenSource:
    """Fails after its first list."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def watch(self) -> AsyncIterator[tuple[Server, ...]]:
        yield (A,)
        await asyncio.sleep(5)
        if self.error:
            raise self.error


class BrokenProbe(FakeProbe):
    """Raises for one server, which a probe never should."""

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken

    async def check(self, server: Server) -> Health:
        if server.id == self.broken:
            raise ZeroDivisionError
        return await super().check(server)


async def consume(pool: ServerPool) -> None:
    async for _ in pool:
        pass


async def test_a_failing_source_fails_its_subscribers_and_its_owner() -> None:
    """With the source's own error; all tasks have ended then."""
    probe = FakeProbe()
    pool = ServerPool(BrokenSource(ConfigError("no such thing")), probe)
    tasks = asyncio.all_tasks()

    seen: list[BaseException | None] = []

    async def own() -> None:
        async with pool:
            subscribers = (consume(pool) for _ in range(2))
            seen.extend(await asyncio.gather(*subscribers, return_exceptions=True))

    with pytest.raises(ConfigError, match="no such thing") as caught:
        await own()
    assert [caught.value, caught.value] == seen
    assert probe.closed
    assert tasks == asyncio.all_tasks()
    assert {A.id: READY} == states(pool.servers)
    with pytest.raises(ConfigError, match="no such thing"):
        await consume(pool)


@pytest.mark.parametrize("fault", [ZeroDivisionError("x\x1b[2J"), None])
async def test_fault_119_a_source_that_raises_or_ends_is_started_again(
    fault: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Meanwhile its servers are probed; the log says it once, in printable text."""
    probe = FakeProbe()
    async with ServerPool(BrokenSource(fault), probe) as pool:
        await until(pool, {A.id: READY})
        await asyncio.sleep(30)
        probe.kill(A.id)
        before = probe.checks[A.id]
        await asyncio.sleep(10)
        assert probe.checks[A.id] >= before + 9
    said = [each for each in caplog.messages if each.startswith("servers: ")]
    assert 1 == len(said)
    assert said[0].isprintable()


async def test_fault_116_a_server_without_a_leader_for_long_is_failing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """But neither dead nor for good, and only while another one has a leader."""
    probe = FakeProbe()
    async with ServerPool(FakeServerSource([A, B, C]), probe) as pool:
        probe.lead(A.id, B.id, leader=True)
        await until(pool, {A.id: READY, B.id: READY, C.id: READY})
        begun = now()
        probe.lead(C.id, leader=False)
        at = await until(pool, {A.id: READY, B.id: READY, C.id: FAILING})
        assert 29 < at - begun < 33
        assert not any(each.dead for each in pool.servers)
        assert any("it has no leader" in each for each in caplog.messages)
        probe.lead(A.id, B.id, leader=False)
        await until(pool, {A.id: READY, B.id: READY, C.id: READY})
        await asyncio.sleep(300)
        assert {A.id: READY, B.id: READY, C.id: READY} == states(pool.servers)
        probe.lead(A.id, leader=True)
        await until(pool, {A.id: READY, B.id: FAILING, C.id: FAILING})
        probe.lead(B.id, C.id, leader=True)
        await until(pool, {A.id: READY, B.id: READY, C.id: READY})


async def test_fault_116_an_election_changes_nothing() -> None:
    """It takes some seconds; then there is a leader again."""
    probe = FakeProbe()
    async with ServerPool(FakeServerSource([A, B]), probe) as pool:
        probe.lead(A.id, leader=True)
        probe.lead(B.id, leader=False)
        await asyncio.sleep(20)
        probe.lead(B.id, leader=True)
        await asyncio.sleep(3)
        probe.lead(B.id, leader=False)
        await asyncio.sleep(20)
        assert {A.id: READY, B.id: READY} == states(pool.servers)


async def test_fault_119_a_probe_that_raises_is_a_failed_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told once with its traceback, and goes on; the other servers' do, too."""
    probe = BrokenProbe(A.id)
    async with ServerPool(FakeServerSource([A, B]), probe) as pool:
        await until(pool, {A.id: FAILING, B.id: READY})
        await asyncio.sleep(30)
        assert probe.checks[B.id] >= 28
        probe.broken = ""
        await until(pool, {A.id: READY, B.id: READY})
    told = [each for each in caplog.records if "ZeroDivisionError" in each.getMessage()]
    assert 1 == len([each for each in told if each.exc_info])


@pytest.mark.parametrize("moment", [0, 0.5, 1.0, 1.7, 30.0])
async def test_it_can_be_cancelled_at_any_moment(moment: float) -> None:
    """While starting, probing, waiting; nothing is left running or open."""
    probe = FakeProbe()
    probe.hang(B.id)
    pool = ServerPool(FakeServerSource([A, B]), probe)
    tasks = asyncio.all_tasks()

    async def own() -> None:
        async with pool:
            await consume(pool)

    task = asyncio.create_task(own())
    await asyncio.sleep(moment)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tasks == asyncio.all_tasks()
    assert repr(pool).startswith("<ServerPool stopped")
    assert probe.closed


async def test_one_may_come_while_the_last_goes() -> None:
    """The pool starts anew once the old run has closed the probe."""
    probe = FakeProbe()
    pool = ServerPool(FakeServerSource([A]), probe)

    async def come_and_go() -> None:
        for _ in range(20):
            await until(pool, {A.id: READY})

    await asyncio.gather(*(come_and_go() for _ in range(5)))
    async with pool:
        count = probe.checks[A.id]
        await asyncio.sleep(60)
        assert count + 50 < probe.checks[A.id]


async def test_a_seed_that_consul_names_later_has_not_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is the same server: its id is another, its endpoint is not."""
    caplog.set_level(logging.INFO, "consul_ebpf")
    named = replace(A, id="of Consul's", name="server-0")
    source, probe = FakeServerSource([A]), FakeProbe()
    async with ServerPool(source, probe) as pool:
        await asyncio.sleep(10)
        source.set([named, B])
        await asyncio.sleep(10)
        assert {named.id: READY, B.id: READY} == states(pool.servers)
    assert caplog.messages == [
        "server 10.0.0.1:8502 is ready",
        "server 10.0.0.2:8502 is ready",
    ]


async def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """What, from which state, to which, why; a panic's begin and end."""
    caplog.set_level(logging.INFO, "consul_ebpf")
    source, probe = FakeServerSource([A, B]), FakeProbe()
    async with ServerPool(source, probe) as pool:
        await asyncio.sleep(10)
        probe.kill(B.id)
        await asyncio.sleep(20)
        probe.kill(A.id)
        await asyncio.sleep(20)
        probe.revive(A.id)
        source.set([])
        await asyncio.sleep(20)
        source.set([A])
        await asyncio.sleep(20)
        assert {A.id: READY} == states(pool.servers)
    assert caplog.messages == [
        "server 10.0.0.1:8502 is ready",
        "server 10.0.0.2:8502 is ready",
        f"server 10.0.0.2:8502 is failing, was ready ({REFUSED})",
        NO_ANSWER,
        NO_SERVER,
        "servers answer their probes again",
        "the source lists servers again",
        "server 10.0.0.2:8502 has left",
    ]


async def test_a_hundred_servers_cost_next_to_nothing() -> None:
    """Only as many as the table holds are probed, once an interval each."""
    servers = [Server.at(f"10.2.0.{i}", 8502) for i in range(1, 101)]
    probe = FakeProbe()
    settings = PoolSettings(interval=10.0)
    async with ServerPool(FakeServerSource(servers), probe, settings=settings) as pool:
        await asyncio.sleep(95)
        assert 64 == len(pool.servers)
    assert 64 == len(probe.checks)
    assert probe.checks.total() <= 64 * 11


DNS = Service("dns", 8600)


async def test_fault_148_each_service_has_its_own_health(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One source and one watch; a server may be well for one and not for the other."""
    source, grpc, dns = FakeServerSource([A, B]), FakeProbe(), FakeProbe()
    pool = ServerPool(source, grpc)
    names = ServerPool(pool, dns, service=DNS)
    both = {A.id: READY, B.id: READY}
    async with pool, names:
        await until(names, both)
        dns.kill(B.id)
        await until(names, {A.id: READY, B.id: FAILING})
        assert both == states(pool.servers)
        dns.revive(B.id)
        grpc.kill(A.id)
        await until(pool, {A.id: FAILING, B.id: READY})
        await until(names, both)
        assert [
            (A.ipv4, None, 8600),
            (B.ipv4, None, 8600),
        ] == [each.endpoint for each in names.servers]
        source.set([B, C])
        await until(names, {A.id: DRAINING, B.id: READY, C.id: READY})
        source.set([])
        await asyncio.sleep(10)
    said = caplog.messages
    assert f"DNS: server 10.0.0.2:8600 is failing, was ready ({REFUSED})" in said
    assert f"server 10.0.0.1:8502 is failing, was ready ({REFUSED})" in said
    assert 1 == sum("no usable server" in line for line in said)
    events = [getattr(record, "event", None) for record in caplog.records]
    assert (1, 1) == (events.count("dns_failing"), events.count("server_failing"))


async def test_a_pool_runs_for_the_pool_that_follows_it() -> None:
    """As long as that one does."""
    grpc, dns = FakeProbe(), FakeProbe()
    pool = ServerPool(FakeServerSource([A, B]), grpc)
    names = ServerPool(pool, dns, service=DNS)
    async with names:
        await until(names, {A.id: READY, B.id: READY})
        assert not grpc.closed
    await asyncio.sleep(1)
    assert grpc.closed
    assert dns.closed


async def test_fault_149_no_server_has_a_dns_port(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each is named, once; their gRPC goes on."""
    dns = FakeProbe()
    dns.kill(A.id, B.id)
    pool = ServerPool(FakeServerSource([A, B]), FakeProbe())
    names = ServerPool(pool, dns, service=DNS)
    async with pool, names:
        await until(names, {A.id: FAILING, B.id: FAILING})
        await asyncio.sleep(60)
        assert {A.id: READY, B.id: READY} == states(pool.servers)
    failing = [each for each in caplog.messages if "failing" in each]
    assert [
        f"DNS: server 10.0.0.1:8600 is failing ({REFUSED})",
        f"DNS: server 10.0.0.2:8600 is failing ({REFUSED})",
    ] == failing


class Denying(FakeProbe):
    """Whose servers may fail beyond doubt."""

    denied = ""

    async def check(self, server: Server) -> Health:
        if server.id == self.denied:
            return Health(alive=False, reason="it knows nothing", sure=True)
        return await super().check(server)


async def test_a_failure_beyond_doubt_is_enough() -> None:
    """But not if nobody else answers."""
    probe = Denying()
    async with ServerPool(FakeServerSource([A, B]), probe) as pool:
        await until(pool, {A.id: READY, B.id: READY})
        begun = now()
        probe.denied = B.id
        assert await until(pool, {A.id: READY, B.id: FAILING}) - begun < 1.2
        assert [pooled.dead for pooled in pool.servers] == [False, True]
        probe.denied = ""
        await until(pool, {A.id: READY, B.id: READY})
        probe.kill(A.id)
        await until(pool, {A.id: FAILING, B.id: READY})
        probe.denied = B.id
        await asyncio.sleep(60)
        assert {A.id: FAILING, B.id: READY} == states(pool.servers)


async def test_known_servers_are_listed_before_there_is_a_list() -> None:
    """So the pool that follows serves them while the source does not answer."""
    known = [PooledServer(A, READY), PooledServer(B, FAILING)]
    pool = ServerPool(FakeServerSource(), FakeProbe(), known=known)
    names = ServerPool(pool, FakeProbe(), service=DNS)
    async with names:
        await until(names, {A.id: READY, B.id: READY})
        assert not pool.answered
