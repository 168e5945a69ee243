"""What a call costs a real Consul server: its CPU, and bytes on the wire."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.fleet.counters import Counted, count
from tests.bench.fleet.lan import Lan
from tests.bench.fleet.model import BUSY, SELDOM, Cost, Costs
from tests.lab.consul import ConsulCluster
from tests.lab.processes import Child, wait_until

EVERY_SECONDS = 0.5
"""Each connection's calls: there are many, as each host has one."""
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Window:
    """What one server did in so many seconds, and all that went over the cable."""

    seconds: float
    counted: Counted
    bytes_passed: float


def watch(cluster: ConsulCluster, place: Lan, server: int, seconds: float) -> Window:
    """Look at a server for a while."""
    begun, passed = time.monotonic(), place.bytes_passed
    before = count(cluster, server, place.servers)
    time.sleep(seconds)
    after = count(cluster, server, place.servers)
    done = time.monotonic() - begun
    return Window(done, after - before, place.bytes_passed - passed)


def costs_of(
    what: str, cluster: ConsulCluster, place: Lan, scratch: Path, idle: Window
) -> Costs:
    """Have the first server asked seldom, and often; see `cost_of`."""
    seldom, busy = (
        cost_of(what, rate, cluster, place, scratch, idle) for rate in (SELDOM, BUSY)
    )
    return Costs(seldom, busy)


def cost_of(
    what: str,
    rate: float,
    cluster: ConsulCluster,
    place: Lan,
    scratch: Path,
    idle: Window,
) -> Cost:
    """Have the first server asked, for as long as it was looked at in rest.

    What it does in rest is taken off.
    """
    module = [sys.executable, "-m", "tests.bench.fleet.asking"]
    connections = str(int(rate * EVERY_SECONDS))
    numbers = [what, connections, str(rate), cluster.addresses[0]]
    child = Child("asking", [*module, *numbers], scratch, netns=place.hosts)
    try:
        wait_until(lambda: _asks(child), f"{what} asked for", TIMEOUT_SECONDS)
        busy = watch(cluster, place, 0, idle.seconds)
        child.must_run()
    finally:
        child.kill()
        child.stdout.unlink()
    times = busy.seconds / idle.seconds
    calls = busy.counted.calls - idle.counted.calls * times
    cpu = busy.counted.cpu - idle.counted.cpu * times
    passed = busy.bytes_passed - idle.bytes_passed * times
    return Cost(1e6 * cpu / calls, passed / calls)


def _asks(child: Child) -> bool:
    child.must_run()
    return bool(child.stdout.read_text())
