"""What a change costs with 250 proxies, and with many more: `nox -s scale`.

Each size runs in a process of its own: a whole `Runner` among fakes that say at once
what Consul would, with its files in memory (/dev/shm), and with tables in memory or,
as root, in the kernel. The figures that are counts are guarded by tests
(tests/unit/controller/test_cost.py); seconds are for people to look at.
"""

import argparse
import asyncio
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.dns import DnsService
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.runner import Runner
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
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
from consul_ebpf.testing import (
    FakeAcl,
    FakeProbe,
    FakeServerSource,
    FakeWorkloads,
    MemoryMapBackend,
)
from consul_ebpf.tokens.keeper import TokenKeeper
from consul_ebpf.tokens.memory import TokenMemory
from tests.lab.processes import pss_of
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

SIZES = (250, 5_000, 20_000, 65_536)
SERVERS = [Server.at(f"10.0.0.{n}", 8502) for n in (1, 2, 3)]
DNS_VIP = Vip(IPv4Address("127.64.0.53"), 53)
DEATHS = 3
IDLE_SECONDS = 20.0

FILES = {"open", "os.remove", "os.mkdir", "os.rename", "os.scandir", "os.listdir"}
"""Audit events of what touches files."""

ROWS = {
    "start": ("s to serve all", "{:.2f}"),
    "start_cpu": ("s of CPU for that, imports included", "{:.2f}"),
    "death": ("ms from verdict to kernel, median", "{:.2f}"),
    "death_worst": ("ms, worst", "{:.2f}"),
    "death_writes": ("rows written for it", "{:.0f}"),
    "dns_death": ("ms from verdict on DNS to kernel, median", "{:.2f}"),
    "dns_death_worst": ("ms, worst", "{:.2f}"),
    "dns_death_writes": ("rows written for it", "{:.0f}"),
    "add": ("s to serve one more", "{:.3f}"),
    "add_renders": ("bootstraps rendered for it", "{:.0f}"),
    "add_files": ("file operations for it", "{:.0f}"),
    "add_writes": ("rows written for it", "{:.0f}"),
    "idle": ("% of one CPU when idle", "{:.2f}"),
    "pss": ("MB PSS of this process", "{:.1f}"),
}


class Counts:
    """What was done since `clear`."""

    def __init__(self, directory: Path) -> None:
        self._below = f"{directory}/"
        self.clear()
        sys.addaudithook(self._hear)

    def clear(self) -> None:
        self.renders = 0
        self.files = 0
        self.applied: list[tuple[float, Applied]] = []

    def _hear(self, name: str, args: tuple[object, ...]) -> None:
        if name in FILES and args and str(args[0]).startswith(self._below):
            self.files += 1

    @property
    def writes(self) -> int:
        return sum(a.servers + a.vips_put + a.vips_removed for _, a in self.applied)


class Renderer:
    """Counts."""

    def __init__(self, ours: EnvoyBootstrap, counts: Counts) -> None:
        self._ours, self._counts = ours, counts

    def render(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> Mapping[str, Any]:
        self._counts.renders += 1
        return self._ours.render(placed, params)

    def notes(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> tuple[str, ...]:
        return self._ours.notes(placed, params)


class Tables:
    """Counts, and notes when a write is done."""

    def __init__(self, backend: MapBackend, counts: Counts) -> None:
        self._backend, self._counts = backend, counts
        self.capacity = backend.capacity
        self.stay, self.mend = backend.stay, backend.mend
        self.close = backend.close

    def apply(self, table: Table) -> Applied:
        applied = self._backend.apply(table)
        if applied:
            self._counts.applied.append((time.perf_counter(), applied))
        return applied

    def read(self) -> KernelState:
        return self._backend.read()


class Verdicts(logging.Handler):
    """When the pool said that a server is failing."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        if " is failing" in record.getMessage():
            self.times.append(time.perf_counter())


class Host:
    """A runner among fakes."""

    def __init__(
        self, directory: Path, backend: MapBackend, dns: MapBackend, size: int
    ) -> None:
        self.counts = Counts(directory)
        self.dns_counts = Counts(directory)
        self.dns_probe = FakeProbe()
        self.proxies = [Proxy(f"web-{n}-sidecar-proxy", "host1") for n in range(size)]
        self.workloads = FakeWorkloads(self.proxies)
        self.probe = FakeProbe()
        self.told: Converged | None = None
        self._news = asyncio.Event()
        token = directory / "the-token"
        token.write_text("5e2a1bd4-0000-0000-0000-000000000000")
        files = BootstrapFiles(directory / "run")
        cells = Cells()
        keeper = TokenKeeper(
            FakeAcl(),
            TokenMemory(directory),
            Credentials(token_file=str(token)),
            proxies=cells.proxies,
        )
        pool = ServerPool(FakeServerSource(SERVERS), self.probe)
        names = ServerPool(pool, self.dns_probe, service=Service(DNS_NAME, 8600))
        self.runner = Runner(
            cells=cells,
            pool=pool,
            dns=DnsService(names, Tables(dns, self.dns_counts), DNS_VIP),
            workloads=self.workloads,
            backend=Tables(backend, self.counts),
            renderer=Renderer(EnvoyBootstrap(token_file=files.token_path), self.counts),
            files=files,
            memory=VipMemory(directory / "run"),
            keeper=keeper,
            central=CentralConfig(
                self.ask, refresh=60.0, proxies=cells.proxies, tokens=keeper.tokens
            ),
        )

    async def ask(self, proxy: Proxy, _token: str) -> BootstrapParams:
        await asyncio.sleep(0)
        return BootstrapParams(
            identity=proxy.id, datacenter="dc1", config={"protocol": "http"}
        )

    def tell(self, done: Converged) -> None:
        self.told = done
        self._news.set()

    async def until(self, condition: Callable[[Converged], bool]) -> None:
        while self.told is None or not condition(self.told):
            self._news.clear()
            await self._news.wait()

    def served(self, count: int) -> Callable[[Converged], bool]:
        return lambda done: (
            (done.servers, done.proxies, done.refused) == (len(SERVERS), count, 0)
        )


async def measure(host: Host) -> dict[str, float]:
    """Start, idle, let servers die, add one."""
    verdicts = Verdicts()
    logger = logging.getLogger("consul_ebpf.servers.pool_log")
    logger.addHandler(verdicts)
    count = len(host.proxies)
    begun = time.perf_counter()
    task = asyncio.create_task(host.runner.run(host.tell))
    try:
        async with asyncio.timeout(600):
            await host.until(host.served(count))
        found = {"start": time.perf_counter() - begun, "start_cpu": time.process_time()}
        found["idle"] = await idle()
        found["pss"] = pss_of(os.getpid())
        found |= await deaths(host, verdicts)
        found |= await dns_deaths(host, verdicts)
        host.counts.clear()
        begun = time.perf_counter()
        host.workloads.set([*host.proxies, Proxy("one-more", "host1")])
        await host.until(host.served(count + 1))
        found["add"] = time.perf_counter() - begun
        found["add_renders"] = host.counts.renders
        found["add_files"] = host.counts.files
        found["add_writes"] = host.counts.writes
    finally:
        task.cancel()
        await asyncio.wait([task])
    return found


async def idle() -> float:
    """Return the share of one CPU that is used while nothing happens, in percent."""
    await asyncio.sleep(3)
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.sleep(IDLE_SECONDS)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 100 * used / (time.perf_counter() - begun)


async def deaths(host: Host, verdicts: Verdicts) -> dict[str, float]:
    """Let servers die, one after the other, and be back."""
    took, writes = [], 0
    for n in range(DEATHS):
        server = SERVERS[n % len(SERVERS)].id
        host.counts.clear()
        verdicts.times.clear()
        host.probe.kill(server)
        await host.until(lambda done: done.servers == len(SERVERS) - 1)
        took.append(1000 * (host.counts.applied[0][0] - verdicts.times[0]))
        writes = max(writes, host.counts.writes)
        host.probe.revive(server)
        await host.until(lambda done: done.servers == len(SERVERS))
    return {
        "death": statistics.median(took),
        "death_worst": max(took),
        "death_writes": writes,
    }


async def dns_deaths(host: Host, verdicts: Verdicts) -> dict[str, float]:
    """Let servers' DNS die, one after the other, and be back."""
    took, writes = [], 0
    counts = host.dns_counts
    for n in range(DEATHS):
        server = SERVERS[n % len(SERVERS)].id
        counts.clear()
        verdicts.times.clear()
        host.dns_probe.kill(server)
        while not counts.applied:
            await asyncio.sleep(0.1)
        took.append(1000 * (counts.applied[0][0] - verdicts.times[0]))
        await asyncio.sleep(1)
        writes = max(writes, counts.writes)
        counts.clear()
        host.dns_probe.revive(server)
        while not counts.applied:
            await asyncio.sleep(0.1)
    return {
        "dns_death": statistics.median(took),
        "dns_death_worst": max(took),
        "dns_death_writes": writes,
    }


@contextmanager
def tables(kind: str) -> Iterator[tuple[MapBackend, MapBackend]]:
    """Open tables in memory, or in the kernel: the proxies', and those of DNS."""
    if kind == "memory":
        yield MemoryMapBackend(capacity=65_537), MemoryMapBackend(capacity=1)
        return
    with ExitStack() as stack:
        cgroup = stack.enter_context(scratch_cgroup())
        bpffs = stack.enter_context(scratch_bpffs())
        at, below = str(cgroup), str(bpffs)
        opened = BccMapBackend.open(cgroup=at, bpffs=below, max_proxies=65_537)
        dns = BccMapBackend.open_dns(cgroup=at, bpffs=below, vip=DNS_VIP)
        yield stack.enter_context(opened), stack.enter_context(dns)


def one(kind: str, size: int) -> None:
    """Measure one size, and print it as JSON."""
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() else None
    with tables(kind) as opened, tempfile.TemporaryDirectory(dir=where) as directory:
        host_of = Host(Path(directory), *opened, size)
        print(json.dumps(asyncio.run(measure(host_of))))


def all_of(kind: str, sizes: list[int]) -> None:
    """Measure every size in a process of its own, and print them side by side."""
    columns: dict[int, dict[str, float]] = {}
    for size in sizes:
        command = [sys.executable, "-m", "tests.scale.measure", kind, str(size)]
        done = subprocess.run(
            [*command, "--one"], check=True, stdout=subprocess.PIPE, text=True
        )
        columns[size] = json.loads(done.stdout)
        print(f"{kind}, {size:,}: {columns[size]}", file=sys.stderr)
    first = columns[sizes[0]]
    print(f"\nTables in {'memory' if kind == 'memory' else 'the kernel'}:\n")
    print(f"| proxies | {' | '.join(f'{size:,}' for size in sizes)} |")
    print(f"|---|{'---|' * len(sizes)}")
    for row, (words, form) in ROWS.items():
        cells = []
        for size in sizes:
            value = columns[size][row]
            ratio = f" (x{value / first[row]:.1f})" if first[row] else ""
            cells.append(form.format(value) + (ratio if size != sizes[0] else ""))
        print(f"| {words} | {' | '.join(cells)} |")


def main() -> None:
    """Measure what was asked for: by default all sizes, in memory and in the kernel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=("memory", "kernel"))
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(asked.kind, asked.sizes[0])
        return
    for kind in [asked.kind] if asked.kind else ["memory", "kernel"]:
        if kind == "kernel" and os.geteuid() != 0:
            print("\nNot root: nothing is measured with tables in the kernel.")
            continue
        all_of(kind, asked.sizes)


if __name__ == "__main__":
    main()
