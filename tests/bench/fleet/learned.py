"""What real parts were seen to ask, and the designs that the model takes from it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.fleet.costs import costs_of, watch
from tests.bench.fleet.counters import Counted, count_all
from tests.bench.fleet.hosts import Hosts, node_of, proxies_of, register
from tests.bench.fleet.lan import Lan
from tests.bench.fleet.model import Cost, Costs, Design, Share
from tests.bench.peers.dataplanes import Dataplanes
from tests.bench.run import Run
from tests.lab.consul import ConsulCluster

LEARNING, PODS = 0, 40
"""The host that is looked at by itself, and how many pods it has."""
DATAPLANES = 20
SETTLE_SECONDS = 5.0

PROBES, PARAMS, CATALOG = "probes", "bootstrap parameters", "catalog"
BLOCKING, WATCHING, XDS = "blocking queries", "WatchServers", "xDS streams"


@dataclass(frozen=True)
class Change:
    """What all servers counted, the bytes that passed, and in which time."""

    counted: Counted
    size: float
    seconds: float


class Meter:
    """Looks at all servers, from one moment to another."""

    def __init__(self, cluster: ConsulCluster, place: Lan) -> None:
        self._look: Callable[[], tuple[Counted, float, float]] = lambda: (
            count_all(cluster, place.servers),
            place.bytes_passed,
            time.monotonic(),
        )
        self._before = self._look()

    def change(self) -> Change:
        """Return what happened since this was made."""
        counted, size, now = self._look()
        return Change(
            counted - self._before[0], size - self._before[1], now - self._before[2]
        )


def costs_of_calls(run: Run, cluster: ConsulCluster, place: Lan) -> Mapping[str, Costs]:
    """Return what each kind of call costs a server."""
    run.say("what a call costs a server")
    idle = watch(cluster, place, 0, 4.0 if run.quick else 8.0)
    return {
        what: costs_of(what, cluster, place, run.scratch, idle)
        for what in ("leader", "params")
    }


def learn_ours(
    run: Run, cluster: ConsulCluster, place: Lan, costs: Mapping[str, Costs]
) -> Design:
    """Look at one host with many pods."""
    run.say(f"one host with {PODS} pods")
    register(cluster, [LEARNING], PODS)
    time.sleep(2)
    start = Meter(cluster, place)
    with Hosts(cluster, place.hosts, [LEARNING], PODS):
        time.sleep(SETTLE_SECONDS)
        first = start.change()
        rest = Meter(cluster, place)
        time.sleep(15 if run.quick else 66)
        seen = rest.change()
    servers, seconds = len(cluster.addresses), seen.seconds
    opened = first.counted
    return Design(
        calls={
            PROBES: Share(server=seen.counted.streams / servers / seconds),
            PARAMS: Share(
                pod=(seen.counted.calls - seen.counted.streams) / PODS / seconds
            ),
            CATALOG: Share(host=seen.counted.queries / seconds),
        },
        costs={
            PROBES: costs["leader"],
            PARAMS: costs["params"],
            CATALOG: costs["params"],
        },
        opened={
            BLOCKING: Share(host=opened.blocking_open),
            XDS: Share(pod=1),
        },
        connections=Share(
            server=1,
            host=opened.connections_open - servers + opened.blocking_open,
            pod=1,
        ),
        idle_size=0.0,
        first={"calls": Share(host=_all_calls(opened) - PODS, pod=1)},
    )


def learn_theirs(run: Run, binary: Path, cluster: ConsulCluster, place: Lan) -> Design:
    """Look at some consul-dataplanes; the host's pods must be registered."""
    run.say(f"{DATAPLANES} consul-dataplanes")
    ids = proxies_of(LEARNING, DATAPLANES)
    start = Meter(cluster, place)
    with Dataplanes(binary, cluster, ids, node_of(LEARNING), netns=place.hosts):
        time.sleep(SETTLE_SECONDS)
        first = start.change().counted
        rest = Meter(cluster, place)
        time.sleep(10 if run.quick else 31)  # of a server's own pings
        seen = rest.change()
    each = first.connections_open / DATAPLANES
    return Design(
        calls={
            "calls": Share(pod=_all_calls(seen.counted) / DATAPLANES / seen.seconds)
        },
        costs={"calls": Costs(Cost(0.0, 0.0), Cost(0.0, 0.0))},
        opened={
            WATCHING: Share(pod=first.streams_open / DATAPLANES),
            XDS: Share(pod=1),
        },
        connections=Share(pod=each),
        idle_size=seen.size / seen.seconds / first.connections_open,
        first={"calls": Share(pod=_all_calls(first) / DATAPLANES)},
    )


def _all_calls(counted: Counted) -> float:
    return counted.calls + counted.queries
