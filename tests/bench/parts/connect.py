"""What a connect() costs: inside the programs, by itself, with its first byte."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial

from consul_ebpf.kernel.program import CONNECT, Program
from tests.bench.peers import network, programs
from tests.bench.peers.network import Case, Network
from tests.bench.report import Figure, Plot, Row, Section, Spread, Table
from tests.bench.run import Run
from tests.bench.samples import alternate, rows
from tests.lab import attached
from tests.lab.attached import Runs, counted_runs

PROGRAMS: dict[str, Program] = {
    network.EMPTY: attached.EMPTY,
    network.BYSTANDER: CONNECT,
    network.OURS: CONNECT,
    network.OURS_EACH: CONNECT,
    network.MANY: CONNECT,
    network.MANY_EACH: CONNECT,
    "one-entry map": programs.ONE_ENTRY,
}
CONNECTS = 100
"""Of each case in a round."""
RATE_MS = 150
LARGEST = {
    "a bystander's run, as a ratio to an empty program's": 1.1,
    "a bystander's run, as a share of a direct connect()": 0.01,
    "a connect() of one of 250 proxies, as a ratio to a direct one": 1.02,
}

Columns = dict[str, dict[str, list[float]]]


def measure(run: Run) -> Section:
    """Measure connects of all peers, alternating."""
    with network.network(run.scratch) as found:
        run.say("inside the programs")
        inside = _inside(found, run)
        run.say("connect()")
        outside = _outside(found, run)
    tables = (
        Table(
            "A program's run, by the kernel's own account",
            {"IPv4": "ns", "IPv6": "ns"},
            rows(inside, network.EMPTY),
            network.EMPTY,
        ),
        Table(
            "A connection from its beginning",
            {
                "connect()": "us",
                "connect(), IPv6": "us",
                "and first byte": "us",
                "1 thread": "a second",
                "2 threads": "a second",
            },
            rows(outside, network.DIRECT),
            network.DIRECT,
        ),
        Table(
            "Goals",
            {"at most": "", "reached": ""},
            _goals(reached(inside, outside)),
        ),
    )
    bars = {name: tuple(each) for name, each in outside["and first byte"].items()}
    plot = Plot(
        "connect", "bars", "From connect() to the first byte", "microseconds", bars
    )
    return Section("connect", tables, (plot,), tuple(found.missing))


def _inside(found: Network, run: Run) -> Columns:
    cases = found.take(*PROGRAMS)
    six = {
        name: case.ipv6()
        for name, case in cases.items()
        if "connect6" in PROGRAMS[name].hooks
    }
    with counted_runs():
        return {
            "IPv4": _mean_ns(cases, "connect4", run.rounds(200)),
            "IPv6": _mean_ns(six, "connect6", run.rounds(200)),
        }


def _mean_ns(
    cases: Mapping[str, Case], hook: str, rounds: int
) -> dict[str, list[float]]:
    def mean(name: str, case: Case) -> float:
        assert case.peer.bpffs is not None
        program = PROGRAMS[name]
        before = Runs.of(case.peer.bpffs, program, hook)
        case.measure("connect", CONNECTS)
        return Runs.of(case.peer.bpffs, program, hook).mean_since(before)

    turns = {name: partial(mean, name, case) for name, case in cases.items()}
    return alternate(turns, rounds)


def _outside(found: Network, run: Run) -> Columns:
    def turns(
        cases: Mapping[str, Case], what: str, *numbers: int, per: float = 1.0
    ) -> dict[str, Callable[[], float]]:
        return {
            name: partial(case.measure, what, *numbers, per=per)
            for name, case in cases.items()
        }

    every = found.cases
    of_ipv6 = (network.DIRECT, network.EMPTY, network.BYSTANDER)
    six = {
        name: case.ipv6()
        for name, case in found.take(*of_ipv6, network.OURS, network.MANY).items()
    }
    used = {
        name: case
        for name, case in every.items()
        if name not in (network.EMPTY, network.BYSTANDER, network.MANY)
    }
    return {
        "connect()": alternate(
            turns(every, "connect", CONNECTS, per=1000), run.rounds(400)
        ),
        "connect(), IPv6": alternate(
            turns(six, "connect", CONNECTS, per=1000), run.rounds(200)
        ),
        "and first byte": alternate(
            turns(every, "first", CONNECTS // 2, per=1000), run.rounds(200)
        ),
        "1 thread": alternate(turns(used, "rate", RATE_MS, 1), run.rounds(20)),
        "2 threads": alternate(turns(used, "rate", RATE_MS, 2), run.rounds(20)),
    }


def reached(inside: Columns, outside: Columns) -> list[float]:
    """Return what is compared with each goal: medians of ratios, round by round."""

    def ratio(these: list[float], those: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(these, those, strict=True))

    runs, connects = inside["IPv4"], outside["connect()"]
    connect_ns = statistics.median(connects[network.DIRECT]) * 1000
    return [
        ratio(runs[network.BYSTANDER], runs[network.EMPTY]),
        statistics.median(runs[network.BYSTANDER]) / connect_ns,
        ratio(connects[network.OURS], connects[network.DIRECT]),
    ]


def _goals(values: list[float]) -> tuple[Row, ...]:
    def one(value: float) -> Figure:
        return Figure(Spread(value, value, value, 1))

    return tuple(
        Row(f"goal: {name}", {"at most": one(most), "reached": one(value)})
        for (name, most), value in zip(LARGEST.items(), values, strict=True)
    )
