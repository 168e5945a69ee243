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
from pathlib import Path

import msgspec

from consul_ebpf.base import heap
from consul_ebpf.base.threads import switch_often
from consul_ebpf.model.values import ServerState, SlottedServer
from consul_ebpf.planning.plan import plan
from tests.lab.processes import pss_of
from tests.scale.changes import Change, Changes
from tests.scale.host import Host, tables

SETTLE_SECONDS = 2.0
START_SECONDS = 600.0


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
        pss = pss_of(os.getpid())  # before plans are made here that are not its own
        found = Size(
            proxies,
            servers,
            start_seconds=took,
            plan_ms=plan_ms(host),
            render_us=render_us(host),
            pss_mb=pss,
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
        await changes.server_dies_meanwhile()
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
