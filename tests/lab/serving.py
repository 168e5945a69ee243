"""A runner among fakes, in virtual time; blocking work runs in real threads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

from consul_ebpf.base.progress import Progress
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.problems import ProblemFile
from consul_ebpf.controller.runner import Runner
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.seams import Applied, Namespaces, WorkloadSource
from consul_ebpf.model.values import (
    Credentials,
    Proxy,
    Server,
    ServerState,
    Table,
    Vip,
)
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.servers.pool import ServerPool
from consul_ebpf.testing import (
    FakeAcl,
    FakeProbe,
    FakeServerSource,
    FakeWorkloads,
    MemoryMapBackend,
)
from consul_ebpf.tokens.keeper import TokenKeeper
from consul_ebpf.tokens.memory import TokenMemory

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
        self.acl = FakeAcl()
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
                self.acl,
                TokenMemory(directory),
                Credentials(token_file=str(token_file)) if token_file else None,
                proxies=cells.proxies,
                doubts=[cells.reconnected],
                unused=cells.unused,
            ),
        )

    async def count_pings(self) -> None:
        async for _ in self.runner.cells.alive.changes():
            self.pings += 1

    def tell(self, done: Converged) -> None:
        self.told.append(done)
        self._news.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Host"]:
        self.task = asyncio.create_task(
            self.runner.run(self.tell, {"pings": self.count_pings})
        )
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


class Lacking(FakeWorkloads):
    """Cannot tell all proxies, while `lacking` says so."""

    lacking: tuple[str, ...] = ()
