"""A whole `Runner` among fakes that say at once what Consul would, and its tables.

So what is measured of it is this project's own work. Its files are wherever the caller
likes, its tables in the kernel.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.dns import DnsService
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.runner import Runner
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.tls import XdsTls
from consul_ebpf.kernel.backend import BccMapBackend
from consul_ebpf.model.seams import Applied, MapBackend
from consul_ebpf.model.values import (
    DNS_NAME,
    BootstrapParams,
    Credentials,
    KernelState,
    PlacedProxy,
    Proxy,
    Server,
    Service,
    Table,
    Vip,
)
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.params import CentralConfig
from consul_ebpf.servers.pool import ServerPool
from consul_ebpf.testing import FakeAcl, FakeProbe, FakeServerSource, FakeWorkloads
from consul_ebpf.tokens.keeper import TokenKeeper
from consul_ebpf.tokens.memory import TokenMemory
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

DNS_VIP = Vip(IPv4Address("127.64.0.53"), 53)
WRITTEN = "os.rename"
"""The audit event of a file that is written: each is put in its place by a rename."""


class Done:
    """What was done since `clear`, and when its first row and the last of it were."""

    def __init__(self) -> None:
        self.clear()
        sys.addaudithook(self._hear)

    def clear(self) -> None:
        """Begin anew."""
        self.rows = self.files = self.renders = 0
        self.first_row = self.last = 0.0

    def _hear(self, name: str, _: tuple[object, ...]) -> None:
        if name == WRITTEN:
            self.files += 1
            self.last = time.perf_counter()

    def note_rows(self, applied: Applied) -> None:
        """Note rows that were written just now, if any."""
        if applied:
            self.rows += applied.servers + applied.vips_put + applied.vips_removed
            self.last = time.perf_counter()
            self.first_row = self.first_row or self.last


class Renderer:
    """Counts."""

    def __init__(self, ours: EnvoyBootstrap, done: Done) -> None:
        self._ours, self._done = ours, done

    def render(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> Mapping[str, Any]:
        """Make a bootstrap."""
        self._done.renders += 1
        return self._ours.render(placed, params)

    def notes(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> tuple[str, ...]:
        """Say what is left out."""
        return self._ours.notes(placed, params)


class CountedTables:
    """Counts the rows that are written."""

    def __init__(self, backend: MapBackend, done: Done) -> None:
        self._backend, self._done = backend, done
        self.capacity = backend.capacity
        self.stay, self.mend = backend.stay, backend.mend
        self.close = backend.close

    def apply(self, table: Table, among: Collection[Vip] | None = None) -> Applied:
        """Write a table."""
        applied = self._backend.apply(table, among)
        self._done.note_rows(applied)
        return applied

    def read(self) -> KernelState:
        """Read all."""
        return self._backend.read()


class Verdicts(logging.Handler):
    """When a pool last said that a server's state is another one."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.last = 0.0
        logger = logging.getLogger("consul_ebpf.servers.pool_log")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Look at the clock."""
        if " is " in record.getMessage():
            self.last = time.perf_counter()


class Host:
    """A runner that serves so many proxies by so many servers."""

    def __init__(
        self,
        directory: Path,
        backends: tuple[MapBackend, MapBackend],
        proxies: int,
        servers: int,
    ) -> None:
        backend, dns = backends
        self.done, self.verdicts = Done(), Verdicts()
        self.servers = [Server.at(f"10.0.0.{n}", 8502) for n in range(1, servers + 1)]
        self.proxies = [
            Proxy(f"web-{n}-sidecar-proxy", "host1") for n in range(proxies)
        ]
        self.source = FakeServerSource(self.servers)
        self.workloads = FakeWorkloads(self.proxies)
        self.probe, self.dns_probe = FakeProbe(), FakeProbe()
        self.token, self.ca = directory / "the-token", "the first CA"
        self.write_token("first")
        files = BootstrapFiles(directory / "run")
        self.cells = cells = Cells()
        self.keeper = TokenKeeper(
            FakeAcl(),
            TokenMemory(directory),
            Credentials(token_file=str(self.token)),
            proxies=cells.proxies,
        )
        tls = XdsTls("server.dc1.consul", ca_file=files.tls_ca_path)
        self.renderer = EnvoyBootstrap(token_file=files.token_path, tls=tls)
        pool = ServerPool(self.source, self.probe)
        names = ServerPool(pool, self.dns_probe, service=Service(DNS_NAME, 8600))
        self.runner = Runner(
            cells=cells,
            pool=pool,
            dns=DnsService(names, CountedTables(dns, self.done), DNS_VIP),
            workloads=self.workloads,
            backend=CountedTables(backend, self.done),
            renderer=Renderer(self.renderer, self.done),
            files=files,
            memory=VipMemory(directory / "run"),
            keeper=self.keeper,
            central=CentralConfig(
                self._ask,
                refresh=60.0,
                proxies=cells.proxies,
                tokens=self.keeper.tokens,
            ),
            tls=lambda: TlsMaterial(ca=self.ca),
        )

    async def _ask(self, proxy: Proxy, _token: str) -> BootstrapParams:
        await asyncio.sleep(0)
        return BootstrapParams(
            identity=proxy.id, datacenter="dc1", config={"protocol": "http"}
        )

    def write_token(self, secret: str) -> None:
        """Replace the one token of all proxies."""
        new = self.token.with_suffix(".new")
        new.write_text(secret)
        new.rename(self.token)

    def serves(self, servers: int, proxies: int) -> bool:
        """Whether so many servers are ready, and so many proxies are served."""
        done: Converged | None = self.cells.outcome.value
        return done is not None and (
            (done.servers, done.proxies, done.refused) == (servers, proxies, 0)
        )

    @property
    def placed(self) -> tuple[PlacedProxy, ...]:
        """The proxies that are served."""
        done = self.cells.outcome.value
        return done.placed if done else ()

    async def until(self, holds: Callable[[], bool], pause: float = 0.05) -> None:
        """Wait until something holds."""
        while not holds():
            await asyncio.sleep(pause)


@contextmanager
def tables() -> Iterator[tuple[BccMapBackend, BccMapBackend]]:
    """Open tables in the kernel: the proxies', and those of DNS."""
    with ExitStack() as stack:
        cgroup = stack.enter_context(scratch_cgroup())
        bpffs = stack.enter_context(scratch_bpffs())
        at, below = str(cgroup), str(bpffs)
        opened = BccMapBackend.open(cgroup=at, bpffs=below, max_proxies=65_537)
        dns = BccMapBackend.open_dns(cgroup=at, bpffs=below, vip=DNS_VIP)
        yield stack.enter_context(opened), stack.enter_context(dns)
