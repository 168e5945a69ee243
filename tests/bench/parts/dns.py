"""What a DNS query costs through the VIP, beside other ways to ask Consul."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from tests.bench.load import compile_load, loading
from tests.bench.peers import resolvers
from tests.bench.peers.peer import LISTEN_PORT, Peer
from tests.bench.report import Plot, Section, Table
from tests.bench.run import Run
from tests.bench.samples import alternate, rows
from tests.lab.go_build import PartMissingError
from tests.lab.parts import ensure_consul

QUERIES = 50
WAYS: tuple[Callable[[resolvers.Place], AbstractContextManager[Peer]], ...] = (
    resolvers.server_itself,
    resolvers.consul_ebpf,
    resolvers.consul_dataplane,
    resolvers.coredns,
)


def measure(run: Run) -> Section:
    """Measure queries in each way, alternating."""
    missing: list[str] = []
    found: dict[str, list[list[float]]] = {}
    with ExitStack() as stack:
        binary = compile_load(run.scratch)
        consul = resolvers.consul(ensure_consul(run.say), run.dataplane)
        place = stack.enter_context(consul)
        turns: dict[str, Callable[[], float]] = {}
        for n, way in enumerate(WAYS):
            try:
                peer = stack.enter_context(way(place))
            except PartMissingError as error:
                missing.append(f"{way.__name__} was left out: {error}.")
                continue
            load = stack.enter_context(loading([binary], peer, LISTEN_PORT + n))
            found[peer.name] = []

            def ask(name: str, measure: Callable[[], list[float]]) -> float:
                found[name].append([ns / 1000 for ns in measure()])
                return found[name][-1][0]

            query = partial(load.ask, peer.target, "query", QUERIES)
            turns[peer.name] = partial(ask, peer.name, query)
        run.say("queries")
        alternate(turns, run.rounds(400))
    columns = {
        "median": {name: [each[0] for each in of] for name, of in found.items()},
        "99th of 100": {name: [each[1] for each in of] for name, of in found.items()},
    }
    base = next(iter(found))
    table = Table(
        "A DNS query, by a socket of its own",
        dict.fromkeys(columns, "us"),
        rows(columns, base),
        base,
    )
    bars = {name: tuple(each) for name, each in columns["median"].items()}
    plot = Plot("dns", "bars", "A DNS query", "microseconds", bars)
    return Section("dns", (table,), (plot,), tuple(missing))
