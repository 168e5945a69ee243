"""Measure one number of proxies and servers: what each change costs, and the memory.

`python -m tests.scale.measure PROXIES SERVERS`, as root, prints it as JSON; the bench's
part `scale` runs it once for each size, in a process of its own. What of it is a count
is guarded by tests (tests/unit/controller/test_cost.py).
"""

import argparse
import asyncio
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from consul_ebpf.base import heap
from consul_ebpf.base.threads import switch_often
from consul_ebpf.controller.outcomes import Served
from consul_ebpf.model.values import Proxy, ServerState, SlottedServer
from consul_ebpf.planning.plan import plan
from tests.lab.processes import pss_of
from tests.scale.host import Host, tables

QUIET_SECONDS = 0.3
"""After which nothing more is written for a change."""
SETTLE_SECONDS = 2.0
START_SECONDS = 600.0


class Change(msgspec.Struct):
    """What one change cost: ms until the last write for it, and how much was done."""

    ms: list[float]
    rows: int
    bootstraps: int
    files: int


class Size(msgspec.Struct):
    """What was found with one number of proxies and of servers."""

    proxies: int
    servers: int
    start_seconds: float
    plan_ms: float
    render_us: float
    pss_mb: float
    tables_mb: float
    idle_percent: float | None
    changes: dict[str, Change]


class Changes:
    """Has things change on a host, one after the other."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.found: dict[str, Change] = {}

    async def server_dies(self, name: str, probe_dns: bool = False) -> None:
        """Let a server, or its DNS, die and be back: from its pool's verdicts."""
        host, (server, *_) = self._host, self._host.servers
        probe = host.dns_probe if probe_dns else host.probe
        for what, turn, fewer in (
            (f"{name} dies", probe.kill, not probe_dns),
            (f"{name} is back", probe.revive, False),
        ):
            before = host.verdicts.last
            host.done.clear()
            turn(server.id)
            await host.until(lambda: host.verdicts.last > before)  # noqa: B023
            begun = host.verdicts.last
            await host.until(lambda: self._is_served(fewer=fewer))  # noqa: B023
            await self._note(what, begun)

    async def server_drains(self) -> None:
        """Have Consul name a server no longer, and again."""
        await self._set(
            "a server drains",
            lambda host: host.source.set(host.servers[1:]),
            lambda: self._is_served(fewer=True),
        )
        await self._set(
            "it is listed again",
            lambda host: host.source.set(host.servers),
            self._is_served,
        )

    def _is_served(self, *, fewer: bool = False) -> bool:
        """Whether a round has taken up that all servers, or all but one, are ready."""
        host = self._host
        return host.serves(len(host.servers) - fewer, len(host.proxies))

    async def proxy_comes(self) -> None:
        """Have one more proxy, and then one less."""
        host = self._host
        more = [*host.proxies, Proxy("one-more", "host1")]
        servers = len(host.servers)
        for what, named in (("one more proxy", more), ("a proxy leaves", host.proxies)):
            await self._set(
                what,
                lambda host: host.workloads.set(named),  # noqa: B023
                lambda: host.serves(servers, len(named)),  # noqa: B023
            )

    async def token_rotates(self) -> None:
        """Replace the token of all; from when it was read."""
        host, secret = self._host, f"token-{time.monotonic_ns()}"

        def written() -> bool:
            done = host.cells.outcome.value
            outcomes = done.outcomes.values() if done else ()
            return all(isinstance(o, Served) and o.token == secret for o in outcomes)

        await self._noticed(
            "a token for all rotates",
            host.keeper.tokens.changed_since,
            host.keeper.tokens.version,
            lambda: host.write_token(secret),
            written,
        )

    async def ca_changes(self) -> None:
        """Replace the CA that all trust; from when it was read."""
        host = self._host

        def replace() -> None:
            host.ca = f"a CA, {time.monotonic_ns()}"

        await self._noticed(
            "a CA file changes",
            host.cells.tls.changed_since,
            host.cells.tls.version,
            replace,
            lambda: host.done.files >= len(host.proxies),
        )

    async def _set(
        self,
        what: str,
        change: Callable[[Host], None],
        holds: Callable[[], bool],
    ) -> None:
        self._host.done.clear()
        begun = time.perf_counter()
        change(self._host)
        await self._host.until(holds)
        await self._note(what, begun)

    async def _noticed(
        self,
        what: str,
        changed_since: Callable[[int, float | None], Awaitable[bool]],
        version: int,
        change: Callable[[], None],
        holds: Callable[[], bool],
    ) -> None:
        change()
        self._host.done.clear()
        await changed_since(version, None)
        begun = time.perf_counter()
        await self._host.until(holds)
        await self._note(what, begun)

    async def _note(self, what: str, begun: float) -> None:
        """Wait for the last write, and keep what was done."""
        done = self._host.done
        await self._host.until(
            lambda: 0 < done.last < time.perf_counter() - QUIET_SECONDS
        )
        ms = 1000 * (done.last - begun)
        before = self.found.get(what)
        self.found[what] = Change(
            [*(before.ms if before else []), ms], done.rows, done.renders, done.files
        )


async def measure(host: Host, idle_seconds: float, rounds: int) -> Size:
    """Start, be idle, change."""
    proxies, servers = len(host.proxies), len(host.servers)
    begun = time.perf_counter()
    task = asyncio.create_task(host.runner.run())
    try:
        async with asyncio.timeout(START_SECONDS):
            await host.until(lambda: host.serves(servers, proxies), 0.01)
        took = time.perf_counter() - begun
        idle = await idle_percent(idle_seconds) if idle_seconds else None
        found = Size(
            proxies,
            servers,
            start_seconds=took,
            plan_ms=plan_ms(host),
            render_us=render_us(host),
            pss_mb=pss_of(os.getpid()),
            tables_mb=tables_mb(),
            idle_percent=idle,
            changes={},
        )
        changes = Changes(host)
        for _ in range(rounds):
            await changes.server_dies("a server")
            await changes.server_drains()
            await changes.proxy_comes()
        await changes.server_dies("its DNS", probe_dns=True)
        await changes.token_rotates()
        await changes.ca_changes()
        found.changes = changes.found
    finally:
        task.cancel()
        await asyncio.wait([task])
    return found


async def idle_percent(seconds: float) -> float:
    """Return the share of one CPU that is used while nothing happens."""
    await asyncio.sleep(SETTLE_SECONDS)
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.sleep(seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 100 * used / (time.perf_counter() - begun)


def plan_ms(host: Host) -> float:
    """Return how long a plan for all takes, from nothing."""
    vips = [each.vip for each in host.placed]
    servers = {
        slot: SlottedServer(slot, server, ServerState.READY)
        for slot, server in enumerate(host.servers)
    }
    begun = time.perf_counter()
    plan(vips, servers, {}, "a host")
    return 1000 * (time.perf_counter() - begun)


def render_us(host: Host) -> float:
    """Return how long one bootstrap takes to make."""
    placed, took = host.placed[0], []
    for _ in range(50):
        begun = time.perf_counter()
        host.renderer.render(placed)
        took.append(1e6 * (time.perf_counter() - begun))
    return statistics.median(took)


def tables_mb() -> float:
    """Return the memory of all tables that this process has open, once each."""
    found: dict[str, int] = {}
    for info in Path("/proc/self/fdinfo").iterdir():
        text = info.read_text() if info.exists() else ""
        if number := re.search(r"^map_id:\s+(\d+)", text, re.MULTILINE):
            bytes_ = re.search(r"^memlock:\s+(\d+)", text, re.MULTILINE)
            found[number[1]] = int(bytes_[1]) if bytes_ else 0
    return sum(found.values()) / 1024**2


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proxies", type=int)
    parser.add_argument("servers", type=int)
    parser.add_argument(
        "--idle", type=float, default=10.0, help="seconds; 0: not at all"
    )
    parser.add_argument("--rounds", type=int, default=2, help="how often each change")
    asked = parser.parse_args()
    heap.use_one_arena()  # as `run` does, and the next line
    switch_often()
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() else None
    with tables() as opened, tempfile.TemporaryDirectory(dir=where) as directory:
        host = Host(Path(directory), opened, asked.proxies, asked.servers)
        found = asyncio.run(measure(host, asked.idle, asked.rounds))
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
