"""Seeds: names, commands, addresses, and what becomes of them."""

import asyncio
from contextlib import aclosing

import dns.name
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest

from consul_ebpf import Server, ServerPool, ServerState
from consul_ebpf.base.retry import growing
from consul_ebpf.config.seeds import Command, Name, parse_seed
from consul_ebpf.model.errors import ConfigError, ConsulError
from consul_ebpf.servers.sources import dns as ours
from consul_ebpf.servers.sources.names import Resolver, ResolvingSource
from consul_ebpf.servers.sources.union import Found
from consul_ebpf.testing import FakeProbe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", Server.at("10.0.0.1", 8502)),
        ("10.0.0.1:1", Server.at("10.0.0.1", 1)),
        ("[fd00::1]:1", Server.at("fd00::1", 1)),
        ("fd00::1", Server.at("fd00::1", 8502)),
        ("consul.example", Name("consul.example", 8502)),
        ("consul.example:1", Name("consul.example", 1)),
        ("_grpc._tcp.consul.example", Name("_grpc._tcp.consul.example", 8502)),
        ("exec=a 'b c'", Command(("a", "b c"), 8502)),
    ],
)
def test_what_may_be_written(text: str, expected: object) -> None:
    """As in consul-dataplane's -addresses, with ports besides."""
    assert parse_seed(text, 8502) == expected


@pytest.mark.parametrize(
    "text", ["", "a b", "10.0.0.300", "x:0", "x:99999", "x:y", "exec=", "exec='", "-x"]
)
def test_what_may_not(text: str) -> None:
    """Said with the seed."""
    with pytest.raises(ConfigError):
        parse_seed(text, 8502)


class Records:
    """A resolver that knows what a test says."""

    def __init__(self, **records: tuple[int, list[str]]) -> None:
        self.records = records
        self.failure: Exception | None = None

    async def resolve(self, name: str, type_: str) -> object:
        if self.failure is not None:
            raise self.failure
        key = f"{name.rstrip('.')}/{type_}".replace(".", "_").replace("/", "_")
        if key not in self.records:
            raise dns.resolver.NXDOMAIN
        ttl, texts = self.records[key]
        return Rrset(dns.rrset.from_text(name, ttl, "IN", type_, *texts))


class Rrset:
    def __init__(self, rrset: dns.rrset.RRset) -> None:
        self.rrset = rrset

    def __iter__(self) -> object:
        return iter(self.rrset)


async def look_up(records: Records, name: str) -> Found:
    return await ours.look_up(Name(name, 8502), 60.0, lambda: records.resolve)


async def test_both_families_and_the_least_ttl() -> None:
    """One server for each address."""
    records = Records(c_test_A=(30, ["10.0.0.1", "10.0.0.2"]), c_test_AAAA=(9, ["::2"]))
    servers, ttl, *_ = await look_up(records, "c.test")
    assert {each.endpoint for each in servers} == {
        "10.0.0.1:8502",
        "10.0.0.2:8502",
        "[::2]:8502",
    }
    assert ttl == 9


@pytest.mark.parametrize(("ttl", "expected"), [(0, 1), (5, 5), (86400, 3600)])
async def test_a_ttl_has_bounds(ttl: int, expected: float) -> None:
    """Neither a question without end nor one that is never asked again."""
    records = Records(c_test_A=(ttl, ["10.0.0.1"]))
    assert (await look_up(records, "c.test"))[1] == expected


async def test_srv_names_ports() -> None:
    """Of each target, with both its families."""
    records = Records(
        _grpc__tcp_c_test_SRV=(60, ["1 1 8503 a.test.", "1 1 8504 b.test."]),
        a_test_A=(5, ["10.0.0.1"]),
        b_test_AAAA=(50, ["fd00::1"]),
    )
    servers, ttl, *_ = await look_up(records, "_grpc._tcp.c.test")
    assert {s.endpoint for s in servers} == {"10.0.0.1:8503", "[fd00::1]:8504"}
    assert ttl == 5


async def test_a_name_of_etc_hosts() -> None:
    """DNS does not know it; asked again after `refresh`."""
    servers, ttl, *_ = await look_up(Records(), "localhost")
    assert "127.0.0.1:8502" in {each.endpoint for each in servers}
    assert ttl == 60


async def test_nobody_knows_it() -> None:
    """Said with the name."""
    with pytest.raises(ConsulError, match=r"DNS name no.invalid: "):
        await look_up(Records(), "no.invalid")


@pytest.mark.looptime(start=0)
async def test_the_ttl_is_respected_and_a_failure_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Asked again when it is over; one seed's failure takes nothing away."""
    now = {"a": ["10.0.0.1"], "b": ["10.0.0.2"]}
    asked: list[float] = []

    async def look_up(name: Name, _: float) -> Found:
        asked.append(asyncio.get_running_loop().time())
        if not now[name.name]:
            raise ConsulError(f"DNS name {name.name}: SERVFAIL")
        servers = tuple(Server.at(each, name.port) for each in now[name.name])
        return Found(servers, 20.0)

    source = ResolvingSource(Resolver(["a", "b"], 8502, 60, look_up))
    async with aclosing(source.watch()) as watching:
        assert len(await anext(watching)) == 2
        now["a"] = ["10.0.0.3"]
        assert 3 == len(await anext(watching))
        assert asked[-1] == 20.0
        servers = await anext(watching)
        assert {s.endpoint for s in servers} == {"10.0.0.3:8502", "10.0.0.2:8502"}
        assert asked[-1] == 80.0
        now["b"] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await anext(watching)
    told = [r for r in caplog.records if "SERVFAIL; keeping" in r.getMessage()]
    assert len(told) == 1


@pytest.mark.looptime(start=0)
async def test_seeds_are_resolved_again_when_no_server_answers() -> None:
    """Long before the TTL ends, but less and less often; then as the TTL says."""
    now = ["10.0.0.1"]
    asked: list[float] = []

    async def look_up(name: Name, _: float) -> Found:
        asked.append(asyncio.get_running_loop().time())
        return Found(tuple(Server.at(each, name.port) for each in now), 3600.0)

    probe = FakeProbe()
    source = ResolvingSource(Resolver(["consul.example"], 8502, 3600, look_up), 3600)
    async with ServerPool(source, probe) as pool:
        await asyncio.sleep(100)
        assert asked == [0]
        probe.kill("10.0.0.1:8502")
        await asyncio.sleep(100)
        assert 4 < len(asked) < 9
        now[:] = ["10.0.0.9"]
        await asyncio.sleep(70)
        states = {each.server.endpoint: each.state for each in pool.servers}
        assert states["10.0.0.9:8502"] is ServerState.READY
        seen = len(asked)
        await asyncio.sleep(600)
        assert len(asked) <= seen + 1


@pytest.mark.parametrize("failures", [0, 3, 10**6])
def test_a_pause_grows_and_ends(failures: int) -> None:
    """A night of failures is no overflow."""
    assert growing(failures, 0.5, 60.0) == min(60.0, 0.5 * 2.0 ** min(failures, 10))
