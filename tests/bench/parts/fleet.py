"""What a fleet of hosts asks of its servers: a model, fed and checked by real parts."""

import time
from dataclasses import replace
from itertools import pairwise

from tests.bench.fleet.counters import TELEMETRY, Counted, count_all
from tests.bench.fleet.hosts import Hosts, register
from tests.bench.fleet.lan import SERVERS, Lan, lan
from tests.bench.fleet.learned import (
    Meter,
    costs_of_calls,
    learn_ours,
    learn_theirs,
)
from tests.bench.fleet.model import Design, Fleet
from tests.bench.fleet.shown import (
    OURS,
    THEIRS,
    at_each_server,
    check,
    cost_table,
    events,
    herd,
    plots,
)
from tests.bench.report import Section
from tests.bench.run import Run
from tests.lab.consul import ConsulCluster
from tests.lab.parts import ensure_consul

HOSTS, PODS = 50, 3
"""Real controllers that check the model, and the pods of each."""
DIED_SECONDS = 15
SETTLE_SECONDS = 5.0

ASSUMED = (
    "Assumed: hosts ask different servers (each has an order of its own), and their"
    " calls are spread over time (jitter). What xDS streams carry is the same for both"
    " and left out, and so is what servers say to each other. A catalog answer is taken"
    " to cost what an answer about a proxy does. No ACLs: a login is one call more for"
    " each pod at its start, with either."
)


def measure(run: Run) -> Section:
    """Learn from one host, predict many, and run many."""
    hosts = 6 if run.quick else HOSTS
    with (
        lan() as place,
        ConsulCluster(
            ensure_consul(), SERVERS, netns=place.servers, config=TELEMETRY
        ) as cluster,
    ):
        register(cluster, range(1, hosts + 1), PODS)
        designs: dict[str, Design] = {}
        register(cluster, [0], 1)
        costs = costs_of_calls(run, cluster, place)
        designs[OURS] = learn_ours(run, cluster, place, costs)
        if run.dataplane:
            designs[THEIRS] = learn_theirs(run, run.dataplane, cluster, place)
            size = designs[THEIRS].idle_size
            designs[OURS] = replace(designs[OURS], idle_size=size)
        run.say(f"{hosts} hosts with {PODS} pods each")
        nobody = Meter(cluster, place)
        time.sleep(SETTLE_SECONDS)
        base = nobody.change()
        start = Meter(cluster, place)
        with Hosts(cluster, place.hosts, range(1, hosts + 1), PODS):
            time.sleep(SETTLE_SECONDS)
            opened = start.change().counted
            rest = Meter(cluster, place)
            time.sleep(15 if run.quick else 36)
            seen = rest.change()
            run.say("a server dies")
            died = death(cluster, place)
    fleet = Fleet(hosts, PODS, len(SERVERS))
    tables = (
        at_each_server(designs),
        events(designs),
        check(designs[OURS], fleet, opened, seen, base),
        herd(died, hosts),
        cost_table(costs),
    )
    notes = [ASSUMED]
    if not run.dataplane:
        notes.append("consul-dataplane was left out: set $CONSUL_DATAPLANE_BIN.")
    return Section("fleet", tables, plots(designs), tuple(notes))


def death(cluster: ConsulCluster, place: Lan) -> list[tuple[float, Counted]]:
    """Kill a server; return what the others counted, second by second.

    Each with the seconds it took, as a busy machine looks more slowly. The first three
    are from before the death.
    """
    leader = cluster.call("GET", "/v1/status/leader").rpartition(":")[0]
    victim = next(i for i, a in enumerate(cluster.addresses) if a != leader)

    def look() -> tuple[float, Counted]:
        return time.monotonic(), count_all(cluster, place.servers, but=[victim])

    looks = [look()]
    for second in range(DIED_SECONDS + 3):
        if second == 3:
            cluster.kill(victim)
        time.sleep(1)
        looks.append(look())
    return [(then[0] - at[0], then[1] - at[1]) for at, then in pairwise(looks)]
