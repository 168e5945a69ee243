"""A fresh Envoy's first configuration; a controller that is restarted or upgraded."""

from collections.abc import Mapping, Sequence

from tests.bench.report import Figure, Plot, Row, Section, Table
from tests.bench.run import Run
from tests.bench.samples import alternate, figure, rows, spread
from tests.bench.starting.first import (
    COLD,
    DIRECT,
    Starts,
)
from tests.bench.starting.gap import NOTHING, PROXIES, Noticed, Replacing
from tests.bench.starting.hammering import LATE_SECONDS
from tests.lab.consul import ConsulCluster
from tests.lab.parts import ensure_consul, find_envoy
from tests.lab.processes import LabError

STARTS, REPLACEMENTS = 10, 3
SERVER = {
    # Proxies come and go here as they never do in life: no server may send any away.
    "performance": {"raft_multiplier": 1, "enable_xds_load_balancing": False}
}
NO_DATAPLANE = "consul-dataplane is not compared: name one in $CONSUL_DATAPLANE_BIN."


def measure(run: Run) -> Section:
    """Measure the starts, then the replacements."""
    envoy = find_envoy()
    if envoy is None:
        raise LabError("no Envoy: set ENVOY_BIN")
    with ConsulCluster(ensure_consul(), size=1, config=SERVER) as cluster:
        run.say("first configurations")
        with Starts(cluster, envoy, run.dataplane) as starts:
            first = alternate(starts.cases(), run.rounds(STARTS))
            ready = starts.controller_ready
            again = starts.dataplane_again(run.rounds(STARTS) // 2)
        run.say("restarts and upgrades, under connects")
        with Replacing(cluster, envoy) as replacing:
            noticed = replacing.measure(1 if run.quick else REPLACEMENTS)
    return Section(
        "start",
        (_first(first, ready), _ready(noticed, again), _noticed(noticed)),
        (
            Plot(
                "start",
                "bars",
                "From a proxy that is to run to its Envoy's first configuration",
                "s",
                {name: tuple(samples) for name, samples in first.items()},
            ),
        ),
        () if run.dataplane else (NO_DATAPLANE,),
    )


def _first(first: Mapping[str, Sequence[float]], ready: Sequence[float]) -> Table:
    notes = {COLD: f"of it {spread(ready).median:.2f} s until the controller is ready"}
    return Table(
        "A fresh Envoy's first configuration",
        {"time": "s"},
        rows({"time": first}, DIRECT, notes),
        DIRECT,
    )


def _ready(noticed: Mapping[str, Noticed], again: Sequence[float]) -> Table:
    """Show until when a replaced process is ready, and for how long Envoy has none."""
    found = [
        Row(
            f"this controller: {name}",
            {
                "until ready": figure(each.ready_seconds, again or None),
                "Envoy without configuration": figure(
                    [0.0 for _ in each.ready_seconds], again or None
                ),
            },
        )
        for name, each in noticed.items()
        if name != NOTHING
    ]
    base = ""
    if again:
        base = "consul-dataplane, ended and started again"
        theirs = figure(again)
        headings = ("until ready", "Envoy without configuration")
        found.insert(0, Row(base, dict.fromkeys(headings, theirs)))
    columns = {"until ready": "s", "Envoy without configuration": "s"}
    return Table("A restart", columns, tuple(found), base)


def _noticed(noticed: Mapping[str, Noticed]) -> Table:
    """Show what connects and streams noticed: beside connects past all of it."""

    def total(samples: Sequence[float]) -> Figure:
        return figure([sum(samples)])

    late = f"later than {1000 * LATE_SECONDS:.0f} ms"
    return Table(
        f"A connect through a VIP each millisecond, and {PROXIES} xDS streams",
        {
            "connects": "",
            "failed": "",
            late: "",
            "longest": "ms",
            f"direct ones {late}": "",
            "longest direct one": "ms",
            "streams broken": "",
        },
        tuple(
            Row(
                name,
                {
                    "connects": total(each.connects),
                    "failed": total(each.failed),
                    late: total(each.late),
                    "longest": figure(each.longest_ms, each.direct_longest_ms),
                    f"direct ones {late}": total(each.direct_late),
                    "longest direct one": figure(each.direct_longest_ms),
                    "streams broken": total(each.broken_streams),
                },
            )
            for name, each in noticed.items()
        ),
        "a direct one",
    )
