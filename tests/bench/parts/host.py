"""A host with its pods: memory, processes, and what it has at the servers."""

from collections.abc import Mapping
from pathlib import Path

from tests.bench.fleet.breakeven import at, break_even
from tests.bench.fleet.counters import TELEMETRY, Counted
from tests.bench.fleet.pods import WITH_ENVOYS, Pods, Seen, WithEnvoys
from tests.bench.report import Plot, Row, Section, Table
from tests.bench.run import Run
from tests.bench.samples import figure, rows
from tests.lab.consul import ConsulCluster
from tests.lab.parts import ensure_consul

SIZES = (1, 13, 50, 250)
DATAPLANES = (1, 13, 50)
"""More are drawn on from the last two."""
OURS, THEIRS, NONE = "consul-ebpf", "consul-dataplane", "none: each Envoy by itself"

Lines = Mapping[int, float]
"""MB by pods."""


def measure(run: Run) -> Section:
    """Measure both, one size after the other."""
    sizes = SIZES[:2] if run.quick else SIZES
    with ConsulCluster(ensure_consul(), config=TELEMETRY) as cluster:
        pods = Pods(run, cluster, max(sizes))
        ours = {n: pods.ours(n, longest=n == max(sizes)) for n in sizes}
        envoys = pods.with_envoys(run.dataplane)
        if run.dataplane:
            found = compared(run, run.dataplane, pods, ours, envoys)
        else:
            found = alone(ours, envoys)
    note = f"On a real cluster of {len(cluster.addresses)} servers, one run each."
    return Section("host", found.tables, found.plots, (note, *found.notes))


def alone(ours: dict[int, Seen], envoys: WithEnvoys) -> Section:
    """Show what was found where there is no consul-dataplane."""
    mine = {n: seen.memory.pss for n, seen in ours.items()}
    tables = (memory_table("PSS", {OURS: mine}), rest_table(ours, {}, envoys))
    why = "consul-dataplane was left out: set $CONSUL_DATAPLANE_BIN."
    return Section("host", tables, (plot_of({OURS: mine}),), (why,))


def compared(
    run: Run,
    binary: Path,
    pods: Pods,
    ours: dict[int, Seen],
    envoys: WithEnvoys,
) -> Section:
    """Measure consul-dataplane, too, and show both."""
    sizes = DATAPLANES[:2] if run.quick else DATAPLANES
    theirs = {n: pods.theirs(binary, n, longest=n == max(sizes)) for n in sizes}
    more = envoys.megabytes
    by_pss = {
        THEIRS: {n: seen.memory.pss + n * more for n, seen in theirs.items()},
        OURS: {n: seen.memory.pss for n, seen in ours.items()},
    }
    by_alone = {
        THEIRS: {n: seen.memory.alone + n * more for n, seen in theirs.items()},
        OURS: {n: seen.memory.alone for n, seen in ours.items()},
    }
    most = theirs[max(theirs)]
    each = Row(THEIRS, {"PSS": figure([mb + more for mb in most.each])})
    title = "PSS, if no other program on the host mapped their files"
    tables = (
        memory_table("PSS", by_pss),
        memory_table(title, by_alone),
        Table(f"Each of {len(most.each)} consul-dataplanes", {"PSS": "MB"}, (each,)),
        rest_table(ours, theirs, envoys),
    )
    said = (
        f"A consul-dataplane takes {more:.1f} MB more while its Envoy has a stream,"
        f" seen at {WITH_ENVOYS}; that is added for each. More than {max(theirs)} of"
        " them are drawn on linearly."
    )
    notes = [said]
    if solved := break_even(by_pss[OURS], by_pss[THEIRS]):
        mine, other = pods.ours(solved), pods.theirs(binary, solved)
        there = other.memory.pss + solved * more
        nobody = break_even(by_alone[OURS], by_alone[THEIRS])
        notes.append(
            f"Smaller than consul-dataplane from {solved} pods on; measured there:"
            f" {mine.memory.pss:.1f} MB against {there:.1f}. If no other program mapped"
            f" Python's and gRPC's files: from {nobody} pods on."
        )
    return Section("host", tables, (plot_of(by_pss),), tuple(notes))


def memory_table(title: str, lines: Mapping[str, Lines]) -> Table:
    """Return the memory of all processes beside the Envoys, by pods."""
    columns = {
        _pods(n): {name: [at(line, n)] for name, line in lines.items()}
        for n in lines[OURS]
    }
    base = THEIRS if THEIRS in lines else OURS
    units = dict.fromkeys(columns, "MB")
    title = f"All processes beside the Envoys: {title}"
    return Table(title, units, rows(columns, base), base if len(lines) > 1 else "")


def rest_table(
    ours: dict[int, Seen], theirs: dict[int, Seen], envoys: WithEnvoys
) -> Table:
    """Return what the most pods have open and ask, with their Envoys."""
    pods = max(ours)
    found = {OURS: _rest(ours[pods], 1.0, envoys.ours, pods)}
    if theirs:
        most = max(theirs)
        found[THEIRS] = _rest(theirs[most], pods / most, envoys.theirs, pods)
    per_pod = pods / WITH_ENVOYS
    found[NONE] = {
        "processes": 0.0,
        "connections": envoys.ours.connections_open * per_pod,
        "xDS streams": envoys.ours.streams_open * per_pod,
    }
    return Table(
        f"{_pods(pods)} in rest, at all servers together",
        {**dict.fromkeys(found[OURS], ""), "idle CPU": "% of a core"},
        tuple(
            Row(name, {key: figure([value]) for key, value in each.items()})
            for name, each in found.items()
        ),
    )


def _rest(seen: Seen, times: float, envoys: Counted, pods: int) -> dict[str, float]:
    per_pod = pods / WITH_ENVOYS
    connections = seen.open.connections_open + seen.open.blocking_open
    return {
        "processes": seen.memory.processes * times,
        "threads": seen.memory.threads * times,
        "idle CPU": 100 * seen.cpu / seen.seconds * times,
        "connections": connections * times + envoys.connections_open * per_pod,
        "xDS streams": envoys.streams_open * per_pod,
        "WatchServers": seen.open.streams_open * times,
        "blocking queries": seen.open.blocking_open * times,
        "calls a minute": seen.calls_a_minute * times,
    }


def plot_of(lines: Mapping[str, Lines]) -> Plot:
    """Draw memory over pods."""
    x = sorted({n for line in lines.values() for n in line})
    series = {name: tuple(at(line, n) for n in x) for name, line in lines.items()}
    title = "Memory of all processes beside a host's Envoys"
    return Plot(
        "host",
        "lines",
        title,
        "MB PSS",
        series,
        x=tuple(x),
        x_label="pods on the host",
        logarithmic=True,
    )


def _pods(pods: int) -> str:
    return f"{pods} pod{'s' * (pods > 1)}"
