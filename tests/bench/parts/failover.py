"""How long a proxy is without a server, when something happens to the one it has.

Three clusters of real servers, each in a network namespace with all peers on it: one
has its servers killed, one has them frozen and cut off, one has them drain.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from threading import Event

from tests.bench.failover import ends
from tests.bench.failover.moves import End, Move
from tests.bench.failover.peers import Dataplanes, Dnat, HaProxy, Listed, Ours
from tests.bench.failover.shown import OURS, plot, table
from tests.bench.failover.site import Make, Site
from tests.bench.report import Section
from tests.bench.run import Run
from tests.lab.debian import unpacked
from tests.lab.go_build import PartMissingError
from tests.lab.parts import ensure_consul, find_envoy
from tests.lab.processes import LabError

ALIVE = OURS
DEAD = "this project, controller dead"
DATAPLANE = "consul-dataplane"
LISTED = "servers listed in Envoy"
HAPROXY = "HAProxy, health checks"
DNAT = "nftables DNAT"
KILLED, SILENT_YET = "killed", "killed before it had answered"
Moves = dict[str, list[Move]]
"""By each peer's name."""
Groups = dict[str, list[tuple[int, Make]]]


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Attributes:
        few, some, many: this project's proxies where servers are killed, where they
            drain, and where they fall silent, which takes long.
        hosts: controllers that are alive there: each looks for itself.
        kills: of servers.
        silent: servers that are frozen, and as many that are cut off.
        patience: seconds to wait there for the slowest.
        drained: seconds in which servers drain.
    """

    few: int = 6
    some: int = 10
    many: int = 15
    hosts: int = 5
    kills: int = 100
    silent: int = 2
    patience: float = 75.0
    drained: float = 280.0


QUICK = Plan(
    few=2, some=2, many=2, hosts=1, kills=3, silent=1, patience=8.0, drained=10.0
)


def measure(run: Run) -> Section:
    """Measure all kinds of ends, side by side."""
    envoy = find_envoy()
    if envoy is None:
        raise LabError("no Envoy: run it with nox, or set ENVOY_BIN")
    plan = QUICK if run.quick else Plan()
    begun, stop = time.monotonic(), Event()
    make = partial(Site, ensure_consul(run.say), envoy, run.dataplane, stop=stop)
    with ExitStack() as stack:
        killing = make(groups(run, plan.few, plan.few // 2), idle=60)
        silencing = make(groups(run, plan.many, plan.many // 2, plan.hosts), idle=160)
        draining = make(groups(run, plan.some, plan.some // 2), idle=110)
        for site in (killing, silencing, draining):
            stack.enter_context(site)
        run.say(f"all are connected after {time.monotonic() - begun:.0f} s")
        threads = stack.enter_context(ThreadPoolExecutor(2))
        stack.callback(stop.set)  # what runs in a thread ends before its site does
        silence = threads.submit(silence_all, silencing, plan)
        drain = threads.submit(ends.drain_servers, draining, plan.drained)
        killed = ends.kill_servers(killing, plan.kills, ours_of(killing))
        run.say(f"{plan.kills} servers were killed")
        times = drain.result()
        frozen, dropped = silence.result()
        return section(
            {
                **by_answer(gathered(killing, killed)),
                "frozen": gathered(silencing, frozen),
                "packets dropped": gathered(silencing, dropped),
                "drained": away(draining, times),
            },
            notes(plan, lacking(run)),
            plan.patience,
        )


def groups(run: Run, ours: int, others: int, hosts: int = 1) -> Groups:
    """Return the peers: of ours and consul-dataplane so many proxies, fewer of others.

    Args:
        run: says which programs there are.
        ours: how many proxies, for the controller alive and for it dead.
        others: how many of each other peer, two at least.
        hosts: how many controllers are alive.
    """
    others = max(others, 2)
    found: Groups = {
        ALIVE: [(ours // hosts, partial(Ours, alive=True))] * hosts,
        DEAD: [(ours, partial(Ours, alive=False))],
        DATAPLANE: [(ours, Dataplanes)],
        LISTED: [(others, Listed)],
        HAPROXY: [(others, HaProxy)],
        DNAT: [(others, Dnat)],
    }
    return {name: each for name, each in found.items() if name not in lacking(run)}


def lacking(run: Run) -> dict[str, str]:
    """Return the peers whose program is not here, and how to get it."""
    found: dict[str, str] = {}
    if run.dataplane is None:
        found[DATAPLANE] = "CONSUL_DATAPLANE_BIN names no binary"
    try:
        unpacked().program("haproxy")
    except PartMissingError as error:
        found[HAPROXY] = str(error)
    return found


def silence_all(site: Site, plan: Plan) -> tuple[list[End], list[End]]:
    """Freeze servers, then cut servers off."""
    much = plan.silent, plan.patience
    return ends.freeze_servers(site, *much), ends.drop_packets(site, *much)


def gathered(site: Site, found: Sequence[End]) -> Moves:
    """Return the moves after all ends, by peer."""
    history = site.history()
    return {
        name: [move for end in found for move in history.moved(end, ids)]
        for name, ids in site.proxies.items()
    }


def ours_of(site: Site) -> list[str]:
    """Return this project's proxies."""
    return [*site.proxies[ALIVE], *site.proxies[DEAD]]


def by_answer(found: Moves) -> dict[str, Moves]:
    """Tell those apart whose server had not answered them yet when it was killed.

    Envoy counts that as one more failure of the same connect, and waits longer.
    """
    return {
        kind: {
            name: [move for move in moves if move.answered_before is answered]
            for name, moves in found.items()
        }
        for kind, answered in ((KILLED, True), (SILENT_YET, False))
    }


def away(site: Site, times: Sequence[tuple[float, float]]) -> Moves:
    """Return the moves of those that a server ended the stream of, by peer."""
    history = site.history()
    return {
        name: [move for span in times for move in history.turned_away(ids, *span)]
        for name, ids in site.proxies.items()
    }


def section(found: dict[str, Moves], said: tuple[str, ...], bound: float) -> Section:
    """Put the moves in tables, one for each kind of end, and draw them."""
    found = {kind: {n: m for n, m in by.items() if m} for kind, by in found.items()}
    shown = {kind: moves for kind, moves in found.items() if moves}
    return Section(
        "failover",
        tuple(table(kind, moves, bound) for kind, moves in shown.items()),
        tuple(
            plot(kind, moves, bound)
            for kind, moves in shown.items()
            if kind != SILENT_YET  # too few to draw
        ),
        said,
    )


def notes(plan: Plan, missing: Mapping[str, str]) -> tuple[str, ...]:
    """Say what was done to whom, and what a figure is of."""
    done = (
        f"{plan.kills} kills, {plan.silent} servers frozen, {plan.silent} without"
        f" packets, and {plan.drained:.0f} s in which Consul ended a stream a second to"
        " even out. Each end hits the proxies of all peers at the same moment; a move"
        f" is one proxy's. {plan.hosts} controllers looked at the silent servers, each"
        " for itself."
    )
    pace = (
        "The next server is killed once the last is back and has sent this project's"
        f" proxies their configuration, at most {ends.REST_SECONDS:g} s later. Whose"
        f" server had sent none yet is in a table of its own ({SILENT_YET}): to Envoy"
        " that is one more failure in a row, so it waits longer."
    )
    meant = (
        "Read from the wire: from the event to the server's first frame behind the"
        " proxy's first request, on a stream that lasts 0.3 s. Noticed, answered:"
        " medians of the time until the old connection was ended, and until the first"
        " configuration, which Consul keeps back for 0.2 s, or until there is a leader"
        " again. Tries: streams begun until one lasted."
    )
    bound = f"A proxy that got to no server counts with {plan.patience:.0f} s."
    without = (f"Without {name}: {why}." for name, why in missing.items())
    return done, pace, meant, bound, *without
