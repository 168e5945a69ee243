"""What an xDS stream costs on each way to a real server: its beginning, and answers."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from tests.bench.load import Load, loading
from tests.bench.peers import relays, resolvers
from tests.bench.peers.peer import Peer
from tests.bench.report import Plot, Section, Table
from tests.bench.run import Run
from tests.bench.samples import alternate, rows
from tests.bench.xds.registered import INSTANCES, LARGE, register
from tests.lab.go_build import PartMissingError
from tests.lab.parts import ensure_consul

CLIENT = (sys.executable, "-m", "tests.bench.xds.client")
FIRST, SMALL, LARGE_ONES = 5, 50, 5
"""Of each in a round."""
WAYS: tuple[Callable[[resolvers.Place], AbstractContextManager[Peer]], ...] = (
    relays.server_itself,
    relays.consul_ebpf,
    relays.consul_dataplane,
)

Cases = Mapping[str, tuple[Load, Peer]]


def measure(run: Run) -> Section:
    """Measure streams on each way, alternating."""
    missing: list[str] = []
    with ExitStack() as stack:
        consul = resolvers.consul(ensure_consul(run.say), run.dataplane)
        place = stack.enter_context(consul)
        register(place.cluster)
        cases: dict[str, tuple[Load, Peer]] = {}
        for way in WAYS:
            try:
                peer = stack.enter_context(way(place))
            except PartMissingError as error:
                missing.append(f"{way.__name__} was left out: {error}.")
                continue
            cases[peer.name] = stack.enter_context(loading(CLIENT, peer)), peer
        run.say("from a connect to the first answer")
        first = _asked(cases, "first", FIRST, run.rounds(80))
        run.say("small answers")
        small = _asked(cases, "small", SMALL, run.rounds(100))
        run.say("large answers")
        large = _asked(cases, "large", LARGE_ONES, run.rounds(60))
    columns = {
        "to the first answer": _milliseconds(first),
        "a small answer": _milliseconds(small),
        "99th of 100": _milliseconds(small, 1),
        "a large answer": _milliseconds(large),
        "of it": {
            name: [size / ns * 1000 for ns, size in each]
            for name, each in large.items()
        },
    }
    base = next(iter(cases))
    units = dict.fromkeys(columns, "ms") | {"of it": "MB/s"}
    table = Table("An xDS stream", units, rows(columns, base), base)
    bars = {name: tuple(each) for name, each in columns["a small answer"].items()}
    plot = Plot("xds", "bars", "A small answer on an xDS stream", "milliseconds", bars)
    size = large[base][0][1] / 1000
    said = f"A large answer: {INSTANCES[LARGE]:,} endpoints, {size:.0f} kB."
    return Section("xds", (table,), (plot,), (said, *missing))


def _asked(
    cases: Cases, what: str, times: int, rounds: int
) -> dict[str, list[list[float]]]:
    """Return what each client answered, round by round."""
    found: dict[str, list[list[float]]] = {name: [] for name in cases}

    def one(name: str, load: Load, peer: Peer) -> float:
        found[name].append(load.ask(peer.target, what, times))
        return found[name][-1][0]

    turns = {name: partial(one, name, *case) for name, case in cases.items()}
    alternate(turns, rounds)
    return found


def _milliseconds(
    found: Mapping[str, list[list[float]]], i: int = 0
) -> dict[str, list[float]]:
    return {name: [each[i] / 1e6 for each in of] for name, of in found.items()}
