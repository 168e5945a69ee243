"""Kill servers, and tell of each move that was late: `python -m tests.bench.failover`.

As root. It is the bench's part `failover` without what takes long: to find out why a
proxy was late, not to be published.
"""

import argparse
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from tests.bench import tables
from tests.bench.failover import ends
from tests.bench.failover.late import beside, tell
from tests.bench.failover.moves import End
from tests.bench.failover.site import Site
from tests.bench.parts.failover import (
    DATAPLANE,
    DNAT,
    by_answer,
    gathered,
    groups,
    ours_of,
    section,
)
from tests.bench.run import Run
from tests.lab.parts import ensure_consul, find_envoy

UNREACHED_SECONDS = 75.0


def main() -> None:
    """Kill so many, print the late moves, then the tables."""
    parser = argparse.ArgumentParser(prog="tests.bench.failover", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--proxies", type=int, default=6, help="of each of ours")
    parser.add_argument("--late", type=float, default=0.5, help="seconds")
    asked = parser.parse_args()
    if asked.kills < 1 or asked.proxies < 1:
        parser.error("--kills and --proxies must be at least 1")
    envoy = find_envoy()
    if os.geteuid() != 0 or envoy is None:
        sys.exit("it needs root, and Envoy: run it with nox, or set ENVOY_BIN")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run, stop = Run(Path()), Event()
    fast = {
        name: each
        for name, each in groups(run, asked.proxies, asked.proxies // 2).items()
        if name not in (DATAPLANE, DNAT)  # both may be late for reasons of their own
    }
    consul = ensure_consul(run.say)
    with ExitStack() as stack:
        site = Site(consul, envoy, None, fast, idle=60, stop=stop)
        stack.enter_context(site)
        run.say("all are connected")
        killed = ends.kill_servers(site, asked.kills, ours_of(site))
        for end in killed:
            print_late(site, end, asked.late)
        kinds = by_answer(gathered(site, killed))
        print(tables.markdown(section(kinds, (), UNREACHED_SECONDS)))


def print_late(site: Site, end: End, late: float) -> None:
    """Tell of those that were late when a server was killed."""
    flows, moved = site.wire.flows, site.moved(end)
    for name, moves in moved.items():
        for move in moves:
            if move.reached is None or move.reached > late:
                lines = tell(name, move, end, flows.streams, flows.attempts)
                print("\n".join([*lines, beside(moved), ""]))


if __name__ == "__main__":
    main()
