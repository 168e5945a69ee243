"""The parts in the runner: what comes first, what goes on, what ends it. Time is
virtual; blocking work runs in real threads."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.base.progress import Progress
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.inputs import NO_BOOTSTRAP, NO_ID
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.problems import ProblemFile
from consul_ebpf.controller.runner import Runner
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.errors import ConsulEbpfError, KernelError, KernelFeatureError
from consul_ebpf.model.seams import Applied, Doomed, Namespaces, WorkloadSource
from consul_ebpf.model.values import (
    Credentials,
    KernelState,
    Proxy,
    ProxyFiles,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
    VipCounters,
)
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.servers.pool import ServerPool
from consul_ebpf.testing import (
    FakeAcl,
    FakeNamespaces,
    FakeProbe,
    FakeServerSource,
    FakeWorkloads,
    MemoryMapBackend,
)
from consul_ebpf.tokens.keeper import TokenKeeper
from consul_ebpf.tokens.memory import TokenMemory

pytestmark = pytest.mark.looptime(start=0)

READY, FAILING = ServerState.READY, ServerState.FAILING
SERVERS = [Server.at(f"10.0.0.{n}", 8502) for n in (1, 2, 3)]
ONE = SERVERS[0].ipv4
WEB, API, JOB = (Proxy(name, "host1", owner="test") for name in ("web", "api", "job"))


def vip(number: int) -> Vip:
    return Vip(IPv4Address("127.64.0.0") + number, 8502)


class Host:
    """A runner among fakes, with its files in `directory`."""

    def __init__(
        self,
        directory: Path,
        *proxies: Proxy,
        backend: MemoryMapBackend | None = None,
        servers: list[Server] | None = SERVERS,
        workloads: WorkloadSource | None = None,
        token_file: Path | None = None,
        source: FakeServerSource | None = None,
        namespaces: Namespaces | None = None,
        problems: ProblemFile | None = None,
    ) -> None:
        self.directory = directory
        self.source = source or FakeServerSource(servers)
        self.probe = FakeProbe()
        self.workloads = FakeWorkloads(proxies)
        self.backend = backend or MemoryMapBackend()
        self.told: list[Converged] = []
        self.pings = 0
        self.progress = Progress(asyncio.get_running_loop().time)
        self._news = asyncio.Event()
        files = BootstrapFiles(directory)
        cells = Cells()
        self.runner = Runner(
            cells=cells,
            pool=ServerPool(self.source, self.probe),
            workloads=workloads or self.workloads,
            backend=self.backend,
            renderer=EnvoyBootstrap(
                token_file=files.token_path if token_file else None
            ),
            files=files,
            memory=VipMemory(directory),
            problems=problems,
            namespaces=namespaces,
            progress=self.progress,
            keeper=TokenKeeper(
                FakeAcl(),
                TokenMemory(directory),
                Credentials(token_file=str(token_file)) if token_file else None,
                proxies=cells.proxies,
                doubts=[cells.reconnected],
            ),
        )

    def ping(self) -> None:
        self.pings += 1

    def tell(self, done: Converged) -> None:
        self.told.append(done)
        self._news.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Host"]:
        self.task = asyncio.create_task(self.runner.run(self.tell, self.ping))
        try:
            yield self
        finally:
            self.task.cancel()
            await asyncio.wait([self.task])
            assert {asyncio.current_task()} == asyncio.all_tasks()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when a round has made it so; a runner that ends is an error.

        So is an hour of virtual time: nothing here takes that long.
        """
        async with asyncio.timeout(3600):
            while not condition():
                self._news.clear()
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait(
                    [news, self.task], timeout=1, return_when="FIRST_COMPLETED"
                )
                news.cancel()
                if self.task.done():
                    await self.task
                    raise AssertionError("the runner ended")

    async def until_served(self, *proxies: Proxy) -> None:
        await self.until(lambda: {each.id for each in proxies} == self.bootstraps())

    def bootstraps(self) -> set[str]:
        return {path.parent.name for path in self.directory.glob("*/bootstrap.json")}

    def token(self, proxy: Proxy) -> str:
        return (self.directory / proxy.id / "token.json").read_text()

    @property
    def table(self) -> Table:
        return self.backend.read().table

    @property
    def writes(self) -> list[Applied]:
        """What was written, without the rounds that wrote nothing."""
        return [applied for applied in self.backend.applied if applied]


class Looking(MemoryMapBackend):
    """Notes which bootstraps there are when it is written to."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self.seen: list[set[str]] = []

    def apply(self, table: Table) -> Applied:
        paths = self._directory.glob("*/bootstrap.json")
        self.seen.append({path.parent.name for path in paths})
        return super().apply(table)


class Refusing(MemoryMapBackend):
    """Refuses the first writes."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def apply(self, table: Table) -> Applied:
        if self.times:
            self.times -= 1
            raise KernelError("writing the tables failed: no memory; trying again")
        return super().apply(table)


class Slow(MemoryMapBackend):
    """Its writes take until `go`; `begun` is set when one begins."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go = threading.Event()
        self._loop = asyncio.get_running_loop()

    def apply(self, table: Table) -> Applied:
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(60)
        return super().apply(table)


class Ending:
    """A workload source that breaks its word."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.more: tuple[Proxy, ...] = (WEB,)
        self.watched = 0

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        self.watched += 1
        yield self.more
        if self._error is not None:
            raise self._error


class Lacking(FakeWorkloads):
    """Cannot tell all proxies, while `lacking` says so."""

    lacking: tuple[str, ...] = ()


class SlowCuts(FakeNamespaces):
    """Cuts take until `go`; `begun` is set when one begins."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.go = threading.Event()
        self.parts: list[int] = []

    def destroy(self, doomed: Sequence[Doomed]) -> int:
        self.parts.append(len(doomed))
        self.begun.set()
        assert self.go.wait(60)
        return super().destroy(doomed)


class Crowded(MemoryMapBackend):
    """Each of its VIPs has thousands of connections to the first server."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def read(self) -> KernelState:
        state = super().read()
        slots = [s for s, row in state.table.servers.items() if row.server.ipv4 == ONE]
        sockets = tuple((n, slot) for slot in slots for n in range(self.count))
        vips = dict.fromkeys(state.vips, VipCounters(self.count, None, sockets))
        return KernelState(state.table, state.servers, vips)


class Unusable(MemoryMapBackend):
    """A kernel that has lost what it needs."""

    def mend(self) -> tuple[str, ...]:
        raise KernelFeatureError("no such kernel")


async def test_the_tables_come_before_the_bootstraps(tmp_path: Path) -> None:
    """No Envoy starts on a VIP that leads nowhere."""
    backend = Looking(tmp_path)
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        await host.until_served(WEB)
        host.workloads.set([WEB, API])
        await host.until_served(WEB, API)
    assert [set(), {"web"}] == backend.seen
    assert {vip(1), vip(2)} == set(host.table.vips)


async def test_the_bootstrap_holds_the_programmed_vip(tmp_path: Path) -> None:
    """Whatever it is."""
    async with Host(tmp_path, WEB).serving() as host:
        await host.until_served(WEB)
    text = (tmp_path / "web" / "bootstrap.json").read_text()
    (programmed,) = host.table.vips
    assert f'"address": "{programmed.address}"' in text


async def test_it_tells_of_each_round(tmp_path: Path) -> None:
    """Ready servers, programmed proxies, refused ones."""
    host = Host(tmp_path, WEB, Proxy("../x", "host1", owner="test"))
    async with host.serving():
        await host.until_served(WEB)
    assert str(Converged(servers=3, proxies=1, refused=1)) == str(host.told[-1])


async def test_nothing_is_done_before_all_is_known(tmp_path: Path) -> None:
    """With no servers known and none in the kernel there is no bootstrap."""
    async with Host(tmp_path, WEB, servers=None).serving() as host:
        await asyncio.sleep(60)
        assert set() == host.bootstraps()
        assert [] == host.backend.applied
        host.source.set(SERVERS)
        await host.until_served(WEB)


async def test_fault_31_a_kernel_that_refuses_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With back-off, and with the newest inputs by then."""
    backend = Refusing(times=4)
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        while backend.times > 2:
            await asyncio.sleep(0.1)
        assert set() == host.bootstraps()
        host.workloads.set([API])
        await host.until_served(API)
    assert 1 == len(host.table.vips)
    told = [r.getMessage() for r in caplog.records if "failed" in r.getMessage()]
    assert 4 == len(told)
    assert told[0].startswith("writing the tables failed: no memory")


async def test_a_death_is_one_write(tmp_path: Path) -> None:
    """Of its row; no VIP changes, no bootstrap is written."""
    async with Host(tmp_path, WEB, API, JOB).serving() as host:
        await host.until_served(WEB, API, JOB)
        host.backend.applied.clear()
        host.probe.kill(SERVERS[0].id)
        await host.until(lambda: 2 == host.told[-1].servers)
    assert [Applied(servers=1)] == host.writes


async def test_fault_59_if_every_probe_fails_nothing_changes(tmp_path: Path) -> None:
    """It is us, or there is nowhere better to go."""
    async with Host(tmp_path, WEB).serving() as host:
        await host.until_served(WEB)
        before = host.table
        host.probe.kill(*(server.id for server in SERVERS))
        host.source.set([])
        await asyncio.sleep(120)
    assert before == host.table
    assert 1 == len(host.writes)


async def test_with_consul_away_new_proxies_are_served_from_the_kernels_list(
    tmp_path: Path,
) -> None:
    """A restart; proxies that were there keep what they have."""
    rows = {
        slot: SlottedServer(slot, SERVERS[slot - 4], state)
        for slot, state in ((4, READY), (5, FAILING))
    }
    VipMemory(tmp_path).save({("web", "default", "default"): vip(7)})
    backend = MemoryMapBackend(table=Table(rows, {vip(7): (5, 4)}))
    host = Host(tmp_path, WEB, API, backend=backend, servers=None)
    async with host.serving():
        await host.until_served(WEB, API)
        known = {slot: row.state for slot, row in host.table.servers.items()}
        assert {4: READY, 5: FAILING} == known
        assert (5, 4) == host.table.vips.pop(vip(7))  # type: ignore[attr-defined]
        assert [Applied(vips_put=1)] == host.writes
        host.source.set(SERVERS)  # Consul is back
        await host.until(lambda: 3 == host.told[-1].servers)
    slots = {row.server.endpoint: slot for slot, row in host.table.servers.items()}
    assert {"10.0.0.1:8502": 4, "10.0.0.2:8502": 5, "10.0.0.3:8502": 6} == slots


async def test_a_restart_writes_nothing(tmp_path: Path) -> None:
    """Neither tables nor files, where nothing has changed."""
    async with Host(tmp_path, WEB, API, JOB).serving() as first:
        await first.until_served(WEB, API, JOB)
    files = written(tmp_path)
    backend = MemoryMapBackend(table=first.table)
    async with Host(tmp_path, JOB, API, WEB, backend=backend).serving() as again:
        await again.until(lambda: bool(again.told) and 3 == again.told[-1].servers)
        await asyncio.sleep(10)
    assert [] == again.writes
    assert first.table == again.table
    assert files == written(tmp_path)


def written(directory: Path) -> dict[Path, tuple[int, int]]:
    """Tell each file and when it was written."""
    stats = {path: path.stat() for path in directory.glob("*/*.json")}
    return {path: (each.st_ino, each.st_mtime_ns) for path, each in stats.items()}


async def test_a_proxy_that_goes_leaves_nothing_but_its_vip(tmp_path: Path) -> None:
    """Which it gets again when it is back."""
    async with Host(tmp_path, WEB, API).serving() as host:
        await host.until_served(WEB, API)
        before = dict(host.table.vips)
        host.workloads.set([API])
        await host.until_served(API)
        assert not (tmp_path / "web").exists()
        assert 1 == len(host.table.vips)
        host.workloads.set([API, WEB, JOB])
        await host.until_served(API, WEB, JOB)
        assert before.keys() < host.table.vips.keys()
        addresses = [each.address for each in before]
        text = (tmp_path / "web" / "bootstrap.json").read_text()
        assert any(f'"{address}"' in text for address in addresses)


async def test_a_refused_proxy_hurts_no_other_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not once for each change of something else; and its end is told too."""
    bad = Proxy("../x", "host1", owner="drop-in.toml")
    async with Host(tmp_path, WEB, bad).serving() as host:
        await host.until_served(WEB)
        host.workloads.set([bad, WEB, API])
        await host.until_served(WEB, API)
        host.workloads.set([WEB])
        await host.until_served(WEB)
    told = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert 1 == len(told)
    assert "not served" in told[0].getMessage()
    assert "drop-in.toml" in told[0].getMessage()
    assert [tmp_path / "vips.json", tmp_path / "web"] == sorted(tmp_path.iterdir())


async def test_fault_27_two_that_want_one_vip_are_told_of_each_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first has it."""
    wanted = IPv4Address("127.64.9.9")
    one, other = (Proxy(n, "h", vip=wanted, owner=f"{n}.toml") for n in ("one", "two"))
    async with Host(tmp_path, one, other, WEB).serving() as host:
        await host.until_served(one, WEB)
    (told,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert "one.toml" in told
    assert "two.toml" in told


async def test_fault_30_a_full_table_keeps_who_is_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the order of the list; there is room when one goes."""
    backend = MemoryMapBackend(capacity=2)
    async with Host(tmp_path, WEB, API, backend=backend).serving() as host:
        await host.until_served(WEB, API)
        before = host.table.vips
        host.workloads.set([JOB, WEB, API])
        await host.until(lambda: 1 == host.told[-1].refused)
        assert {"web", "api"} == host.bootstraps()
        assert before == host.table.vips
        host.workloads.set([JOB, API])
        await host.until_served(JOB, API)
    (told,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert "proxy job" in told
    assert "kernel.max_proxies" in told


async def test_fault_16_the_token_is_written_and_rotated_and_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A new one is in the file within seconds; the bootstrap stays as it is."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "the-token"
    file.write_text("secret-one")
    host = Host(tmp_path / "run", WEB, token_file=file)
    run = tmp_path / "run"
    async with host.serving():
        await host.until_served(WEB)
        assert "secret-one" in host.token(WEB)
        bootstrap = (run / "web" / "bootstrap.json").stat().st_mtime_ns
        file.write_text("secret-two")
        await host.until(lambda: "secret-two" in host.token(WEB))
        assert bootstrap == (run / "web" / "bootstrap.json").stat().st_mtime_ns
    assert "secret" not in (run / "web" / "bootstrap.json").read_text()
    assert "secret" not in caplog.text
    assert "secret" not in repr(host.runner)


async def test_no_bootstrap_is_written_while_its_token_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Envoy would not start; others are served, and it is when the way is free."""
    file, run = tmp_path / "the-token", tmp_path / "run"
    file.write_text("secret")
    (run / "web" / "token.json").mkdir(parents=True)
    async with Host(run, WEB, API, token_file=file).serving() as host:
        await host.until_served(API)
        assert not host.told[-1].complete
        await asyncio.sleep(60)
        assert {"api"} == host.bootstraps()
        (run / "web" / "token.json").rmdir()
        await host.until_served(WEB, API)
        assert host.told[-1].complete
    (told,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert str(run / "web") in told


async def test_a_token_that_cannot_be_read_any_more_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once."""
    file, run = tmp_path / "the-token", tmp_path / "run"
    file.write_text("secret")
    async with Host(run, WEB, token_file=file).serving() as host:
        await host.until_served(WEB)
        file.unlink()
        await asyncio.sleep(60)
        assert not host.task.done()
        assert "secret" in host.token(WEB)
    told = [r.getMessage() for r in caplog.records if str(file) in r.getMessage()]
    assert [
        f"token file {file}: No such file or directory; keeping the last good one"
    ] == told


async def test_without_its_token_a_proxy_is_programmed_and_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its VIP leads somewhere already; the bootstrap comes with the token."""
    file, run = tmp_path / "the-token", tmp_path / "run"
    async with Host(run, WEB, token_file=file).serving() as host:
        await host.until(lambda: bool(host.told))
        assert (1, 1) == (host.told[-1].proxies, host.told[-1].refused)
        assert not host.bootstraps()
        file.write_text("secret")
        await host.until_served(WEB)
        assert host.told[-1].refused == 0
    (told, *_) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert "proxy web (test): no bootstrap yet: no ACL token yet: " in told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(None, "proxies: the source of proxies ended", id="ends"),
        pytest.param(ConsulEbpfError("no more"), "proxies: no more", id="ours"),
        pytest.param(OSError("disk"), "proxies: OSError: disk", id="a surprise"),
    ],
)
async def test_fault_82_a_source_that_fails_is_started_again(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    error: Exception | None,
    told: str,
) -> None:
    """Said once, with its traceback where nobody foresaw it; what it said stays."""
    ending = Ending(error)
    async with Host(tmp_path, workloads=ending).serving() as host:
        await host.until_served(WEB)
        await asyncio.sleep(200)
        assert {"web"} == host.bootstraps()
        assert 3 < ending.watched < 12  # with growing pauses
        ending.more = (WEB, API)
        await host.until_served(WEB, API)
    said = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert [told] == [each.getMessage()[: len(told)] for each in said]
    assert bool(said[0].exc_info) is isinstance(error, OSError)


async def test_fault_82_the_pool_of_servers_is_started_again(tmp_path: Path) -> None:
    """The servers it named stay in use meanwhile, and new proxies are served."""

    class EndingServers(FakeServerSource):
        async def watch(self) -> AsyncIterator[tuple[Server, ...]]:
            yield tuple(SERVERS)
            await asyncio.sleep(5)
            raise ZeroDivisionError

    host = Host(tmp_path, WEB, source=EndingServers())
    async with host.serving():
        await host.until_served(WEB)
        for number in range(100):
            host.workloads.set([WEB, Proxy(f"more-{number}", "host1")])
            await asyncio.sleep(1)
        await host.until_served(WEB, Proxy("more-99", "host1"))
        assert 3 == len(host.table.servers)


async def test_fault_82_what_cannot_go_on_ends_it(tmp_path: Path) -> None:
    """With that error, and not with a group of them; what is programmed stays."""
    backend = Unusable()
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        with pytest.raises(KernelFeatureError, match="no such kernel"):
            await host.task
    assert not backend.closed


async def test_fault_83_it_is_ready_in_time_without_consul(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With nothing; what is missing is said once, shown, and taken back."""
    problems = ProblemFile(tmp_path)
    host = Host(tmp_path, WEB, servers=None, problems=problems)
    async with host.serving():
        await asyncio.sleep(1.9)
        assert [] == host.told
        await asyncio.sleep(0.2)
        (first,) = host.told
        assert str(Converged(servers=0, proxies=0, refused=0)) == str(first)
        line = "Consul has not answered yet: no server is known, so no proxy can be"
        assert [line] == [each[: len(line)] for each in first.missing]
        await asyncio.sleep(60)
        assert list(first.missing) == problems.read().missing
        assert 1 == caplog.text.count(line)
        host.source.set(SERVERS)
        await host.until_served(WEB)
        await asyncio.sleep(2)
        assert () == host.told[-1].missing
        assert [] == problems.read().missing


async def test_fault_83_what_else_is_missing_is_said(tmp_path: Path) -> None:
    """Sources that have not answered, and what they cannot tell."""
    workloads = Lacking(None)
    workloads.lacking = ("a.toml cannot be read",)
    async with Host(tmp_path, workloads=workloads).serving() as host:
        await asyncio.sleep(2.1)
        (done,) = host.told
        asking = "the sources of proxies have not answered yet"
        assert (asking, "a.toml cannot be read") == done.missing
        workloads.set([WEB])
        await host.until_served(WEB)
        await asyncio.sleep(2)
        assert ("a.toml cannot be read",) == host.told[-1].missing


async def test_fault_83_the_last_known_servers_serve_meanwhile(tmp_path: Path) -> None:
    """At once, as ever; that Consul has not answered is said in time."""
    rows = {4: SlottedServer(4, SERVERS[0], READY)}
    backend = MemoryMapBackend(table=Table(rows, {}))
    host = Host(tmp_path, WEB, backend=backend, servers=None)
    async with host.serving():
        await host.until_served(WEB)
        assert not host.told[-1].missing
        await asyncio.sleep(3)
        (line,) = host.told[-1].missing
        assert line.startswith("Consul has not answered yet: the last known servers")


async def test_fault_81_what_a_source_lacks_for_a_while_stays(tmp_path: Path) -> None:
    """It goes when the source tells all, though the list is the same."""
    workloads = Lacking((WEB, API))
    async with Host(tmp_path, workloads=workloads).serving() as host:
        await host.until_served(WEB, API)
        before = host.table
        workloads.lacking = ("api.toml cannot be read",)
        workloads.set([WEB])
        await asyncio.sleep(60)
        assert {"web", "api"} == host.bootstraps()
        assert before == host.table
        workloads.lacking = ()
        await host.until_served(WEB)


async def test_fault_84_work_that_does_not_go_on_ends_the_ping(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a minute after its last step; and it is there again when it ends."""
    async with Host(tmp_path, WEB).serving() as host:
        await host.until_served(WEB)
        with host.progress.working("a round") as step:
            for _ in range(10):
                await asyncio.sleep(25)
                step()
            assert host.pings >= 120
            await asyncio.sleep(40)
            before = host.pings
            await asyncio.sleep(60)
            assert host.pings == before
        assert 1 == caplog.text.count("a round has not gone on for 30 s")
        await asyncio.sleep(20)
        assert host.pings >= before + 9


async def test_fault_84_a_round_is_noted_and_who_waits_for_it_is_not(
    tmp_path: Path,
) -> None:
    """Else it would be the one that waits that seems to be stuck."""
    backend = Slow()
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        await backend.begun.wait()
        waiting = asyncio.create_task(host.runner.tables.stay([]))
        for _ in range(10):
            await asyncio.sleep(0)
        stuck = host.progress.stuck(-1)
        assert ("a round" in stuck, "writing cursors" in stuck) == (True, False)
        backend.go.set()
        await waiting
        await host.until_served(WEB)


async def test_fault_84_a_cut_of_thousands_is_no_work_that_others_wait_for(
    tmp_path: Path,
) -> None:
    """The upkeep goes on beside it, and new pods have their turn each second."""
    backend, namespaces = Crowded(6_000), SlowCuts()
    host = Host(tmp_path, WEB, backend=backend, namespaces=namespaces)
    async with host.serving():
        await host.until_served(WEB)
        host.probe.kill(SERVERS[0].id)
        await asyncio.to_thread(namespaces.begun.wait, 60)
        backend.broken = ("a link was missing",)
        await host.runner.tables.mend()
        namespaces.go.set()
        while len(namespaces.parts) < 30:
            await asyncio.sleep(0.1)
        assert 200 == max(namespaces.parts)


async def test_cancelled_in_the_middle_of_a_write_it_finishes_that_round(
    tmp_path: Path,
) -> None:
    """Table and files agree, and no task is left; closing is the caller's."""
    backend = Slow()
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        await backend.begun.wait()
        for _ in range(2):  # signals
            host.task.cancel()
            for _ in range(100):  # not in virtual time: it waits for the thread
                await asyncio.sleep(0)
            assert not host.task.done()
        backend.go.set()
        await asyncio.wait([host.task])
        assert host.task.cancelled()
    assert {vip(1)} == set(host.table.vips)
    assert {"web"} == host.bootstraps()
    assert host.probe.closed
    assert not host.backend.closed


async def test_a_proxy_whose_id_comes_late_is_served_then(tmp_path: Path) -> None:
    """With the VIP it had before, in its own place; its token is kept by its key."""
    volume = tmp_path / "volume"
    late = Proxy(
        id="",
        node="",
        key="pod-1",
        credentials=Credentials(token="own"),  # an example
        files=ProxyFiles(str(volume), seen_at="/consul"),
    )
    async with Host(tmp_path / "run", late, WEB).serving() as host:
        await host.until_served(WEB)
        await asyncio.sleep(60)
        assert host.told[-1].refusals == {"pod-1": f"{NO_BOOTSTRAP}: {NO_ID}"}
        assert not (volume / "bootstrap.json").exists()
        before = host.table.vips
        host.workloads.set([replace(late, id="api", node="host1"), WEB])
        await host.until((volume / "bootstrap.json").exists)
        assert before == host.table.vips
        assert '"own"' in (volume / "token.json").read_text()
        assert not host.told[-1].refusals
        host.workloads.set([WEB])
        await host.until(lambda: len(host.table.vips) == 1)
        await host.until(lambda: not volume.exists())
