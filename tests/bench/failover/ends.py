"""What happens to servers, again and again; all peers go through the same."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from tests.bench.failover.moves import STEADY_SECONDS, End
from tests.bench.failover.site import ADDRESSES, Site
from tests.lab.power import powered_off

DEAD_SECONDS = 0.6
"""A killed server stays dead so long: not long enough for a verdict of probes, which
would be too late for the next kill."""
REST_SECONDS = 2.0
"""At most so long from when it is back until the next is killed."""
SETTLE_SECONDS = 5.0
"""Controllers and HAProxy see servers well again within this."""


def kill_servers(site: Site, count: int, waited: Sequence[str]) -> list[End]:
    """Kill one server after the other, and start it again.

    The next is killed once the proxies that are `waited` for have their configuration.
    Who is on no server then is not counted.
    """
    ends = []
    for n in range(count):
        victim = n % len(ADDRESSES)
        ends.append(End(ADDRESSES[victim], time.time()))
        site.cluster.kill(victim)
        site.pause(DEAD_SECONDS)
        site.cluster.restart(victim)
        site.wait_until(lambda: not site.unanswered(waited), REST_SECONDS)
    return ends


def freeze_servers(site: Site, count: int, patience: float) -> list[End]:
    """Stop one server after the other: it accepts connections and answers nothing."""

    def freeze(i: int) -> AbstractContextManager[object]:
        stack = ExitStack()
        stack.callback(site.cluster.thaw, i)
        site.cluster.freeze(i)
        return stack

    return _silence(site, count, patience, freeze)


def drop_packets(site: Site, count: int, patience: float) -> list[End]:
    """Drop all packets to and from one server after the other."""
    return _silence(site, count, patience, lambda i: powered_off(site.cgroups[i]))


def _silence(
    site: Site,
    count: int,
    patience: float,
    begin: Callable[[int], AbstractContextManager[object]],
) -> list[End]:
    """Gather everybody on a server, and take its voice until all have left it.

    At most `patience` seconds.
    """
    ends = []
    for n in range(count):
        victim = n % len(ADDRESSES)
        site.gather(victim)
        site.pause(SETTLE_SECONDS)
        end = End(ADDRESSES[victim], time.time())
        ends.append(end)
        with begin(victim):
            site.wait_until(partial(_all_moved, site, end), patience)
        site.cluster.wait_ready()
        site.pause(SETTLE_SECONDS)
    return ends


def _all_moved(site: Site, end: End) -> bool:
    moves = [move for group in site.moved(end).values() for move in group]
    return all(move.reached is not None for move in moves)


def drain_servers(site: Site, seconds: float) -> list[tuple[float, float]]:
    """Have Consul drain one server after the other; return from when until when.

    All proxies are on one server when the room that it has for streams becomes less, as
    it does when a server joins. It then ends one stream a second.
    """
    times: list[tuple[float, float]] = []
    limit = time.monotonic() + seconds
    n = 0
    while not times or time.monotonic() < limit:
        site.gather(n % len(ADDRESSES))
        site.pause(SETTLE_SECONDS)
        begun = time.time()
        site.take_room()
        most = len(site.all) * 11 // 30 + 1  # what Consul allows a server, of three
        site.wait_until(partial(_even, site, most), 3.0 + len(site.all))
        site.pause(STEADY_SECONDS)
        times.append((begun, time.time()))
        site.make_room()
        n += 1
    return times


def _even(site: Site, most: int) -> bool:
    history, now = site.history(), time.time()
    return all(len(history.on(each, now, site.all)) <= most for each in ADDRESSES)
