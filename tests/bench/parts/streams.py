"""What a connection costs once it is there: a byte there and back, and a flow."""

from collections.abc import Callable
from functools import partial

from tests.bench.peers import network
from tests.bench.peers.network import Case
from tests.bench.report import Plot, Section, Table
from tests.bench.run import Run
from tests.bench.samples import alternate, rows

TRIPS = 500
MEGABYTES = 100
LEFT_OUT = (network.EMPTY, network.BYSTANDER, network.OURS, network.MANY)
"""They differ from others in connect() alone."""


def measure(run: Run) -> Section:
    """Measure connections of all peers, alternating."""
    with network.network(run.scratch) as found:
        cases = {
            name: case for name, case in found.cases.items() if name not in LEFT_OUT
        }
        run.say("a byte there and back")
        trips: dict[str, list[list[float]]] = {name: [] for name in cases}

        def trip(name: str, case: Case) -> float:
            answer = case.load.ask(case.target, "trip", TRIPS)
            trips[name].append([ns / 1000 for ns in answer])
            return answer[0]

        turns = {name: partial(trip, name, case) for name, case in cases.items()}
        alternate(turns, run.rounds(150))
        run.say("a flow")
        flows: dict[str, Callable[[], float]] = {
            name: partial(case.measure, "flow", MEGABYTES)
            for name, case in cases.items()
        }
        flow = alternate(flows, run.rounds(40))
    columns = {
        "round trip": {name: [each[0] for each in of] for name, of in trips.items()},
        "99th of 100": {name: [each[1] for each in of] for name, of in trips.items()},
        "flow": flow,
    }
    table = Table(
        "An open connection",
        {"round trip": "us", "99th of 100": "us", "flow": "MB/s"},
        rows(columns, network.DIRECT),
        network.DIRECT,
    )
    bars = {name: tuple(each) for name, each in columns["round trip"].items()}
    plot = Plot("streams", "bars", "A byte there and back", "microseconds", bars)
    return Section("streams", (table,), (plot,), tuple(found.missing))
