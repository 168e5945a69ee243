"""What is shown of a fleet: the model's word, and what it was checked by."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.bench.fleet.counters import Counted
from tests.bench.fleet.learned import BLOCKING, PARAMS, PROBES, WATCHING, XDS, Change
from tests.bench.fleet.model import BUSY, SELDOM, Costs, Design, Fleet, load_of
from tests.bench.report import Plot, Row, Table
from tests.bench.samples import figure

OURS, THEIRS = "consul-ebpf", "consul-dataplane"
FLEET = Fleet(hosts=10_000, pods=25, servers=3)


def at_each_server(designs: Mapping[str, Design]) -> Table:
    """Return what the model says of a large fleet in rest."""
    found: list[Row] = []
    for name, design in designs.items():
        for servers in (3, 5):
            load = load_of(design, replace(FLEET, servers=servers))
            values = {
                "probes": load.calls.get(PROBES, 0.0),
                "other calls": load.calls_together - load.calls.get(PROBES, 0.0),
                BLOCKING: load.opened.get(BLOCKING, 0.0),
                WATCHING: load.opened.get(WATCHING, 0.0),
                XDS: load.opened[XDS],
                "connections": load.connections,
                "traffic": load.size / 1000,
                "CPU": load.cores,
            }
            found.append(_row(f"{name}, {servers} servers", values))
    units = {
        "probes": "a second",
        "other calls": "a second",
        **dict.fromkeys((BLOCKING, WATCHING, XDS, "connections"), ""),
        "traffic": "kB/s",
        "CPU": "cores",
    }
    title = f"At each server, by the model: {FLEET.hosts:,} hosts of {FLEET.pods} pods"
    return Table(title, units, tuple(found))


def events(designs: Mapping[str, Design]) -> Table:
    """Return what the model says each server gets when something happens."""
    found = []
    for name, design in designs.items():
        for servers in (3, 5):
            fleet = replace(FLEET, servers=servers)
            watched = (design.opened.get(kind) for kind in (BLOCKING, WATCHING))
            values = {
                "a server dies: new connections": design.connections.moved_to_each(
                    fleet
                ),
                "the list of servers changes: answers": sum(
                    each.at_each_server(fleet) for each in watched if each
                ),
                "all hosts start: calls": sum(
                    each.at_each_server(fleet) for each in design.first.values()
                ),
            }
            found.append(_row(f"{name}, {servers} servers", values))
    units = dict.fromkeys(found[0].figures, "")
    return Table("The same fleet when something happens", units, tuple(found))


def check(
    design: Design, fleet: Fleet, opened: Counted, seen: Change, base: Change
) -> Table:
    """Return the model's word on the real hosts beside what was measured."""
    load = load_of(replace(design, idle_size=0.0), fleet)
    envoys = fleet.hosts * fleet.pods  # the model's, and here there are none
    servers, seconds = fleet.servers, seen.seconds
    resting = base.counted.cpu / base.seconds
    pairs = {
        "probes, a second": (
            load.calls[PROBES] * servers,
            seen.counted.streams / seconds,
        ),
        "calls for parameters, a second": (
            load.calls[PARAMS] * servers,
            (seen.counted.calls - seen.counted.streams) / seconds,
        ),
        "connections": (
            load.connections * servers - envoys,
            opened.connections_open + opened.blocking_open,
        ),
        BLOCKING: (load.opened[BLOCKING] * servers, opened.blocking_open),
        "kB/s": (load.size * servers / 1000, seen.size / seconds / 1000),
        "% of a core": (
            100 * load.cores * servers,
            100 * (seen.counted.cpu / seconds - resting),
        ),
    }
    found = tuple(
        Row(
            name,
            {
                "predicted": figure([said]),
                "measured": figure([is_], [said] if said else None),
            },
        )
        for name, (said, is_) in pairs.items()
    )
    title = f"All servers of {fleet.hosts} real controllers with {fleet.pods} pods each"
    return Table(title, {"predicted": "", "measured": ""}, found, "as predicted")


def herd(died: Sequence[tuple[float, Counted]], hosts: int) -> Table:
    """Return what the others were asked before and after a server's death."""
    found = []
    for name, part in {"in rest": died[:3], "after it": died[3:]}.items():
        calls = [counted.calls / seconds for seconds, counted in part]
        values = {
            "calls a second": figure(calls),
            "in the busiest": figure([max(calls)]),
            "catalog answers, in all": figure(
                [sum(counted.queries for _, counted in part)]
            ),
            "gRPC connections made": figure(
                [sum(counted.connections for _, counted in part)]
            ),
        }
        found.append(Row(name, values))
    title = f"The two others when a server of {hosts} controllers dies"
    return Table(title, dict.fromkeys(found[0].figures, ""), tuple(found))


def cost_table(costs: Mapping[str, Costs]) -> Table:
    """Return what calls cost a server."""
    seldom, busy = (f"CPU at {rate:,.0f} a second" for rate in (SELDOM, BUSY))
    names = {
        "leader": "who leads? (a probe)",
        "params": "a proxy's bootstrap parameters",
    }
    found = tuple(
        _row(
            name,
            {
                seldom: costs[what].seldom.cpu_us,
                busy: costs[what].busy.cpu_us,
                "size": costs[what].busy.size,
            },
        )
        for what, name in names.items()
    )
    title = "A call costs a server, by how many it gets"
    return Table(title, {seldom: "us", busy: "us", "size": "bytes"}, found)


def plots(designs: Mapping[str, Design]) -> tuple[Plot, ...]:
    """Draw calls and connections over the number of hosts."""
    hosts = (100, 300, 1000, 3000, 10_000)

    def line(name: str, servers: int, what: str) -> tuple[float, ...]:
        fleets = (replace(FLEET, hosts=n, servers=servers) for n in hosts)
        loads = [load_of(designs[name], fleet) for fleet in fleets]
        if what == "connections":
            return tuple(load.connections for load in loads)
        return tuple(load.calls_together for load in loads)

    x = tuple(map(float, hosts))
    label = f"hosts of {FLEET.pods} pods each"
    calls = {f"{OURS}, {n} servers": line(OURS, n, "calls") for n in (3, 5)}
    connections = {
        f"{name}, 3 servers": line(name, 3, "connections") for name in designs
    }
    return (
        Plot(
            "fleet-calls",
            "lines",
            "Calls to each server in rest (consul-dataplane makes none)",
            "calls a second",
            calls,
            x,
            label,
            logarithmic=True,
        ),
        Plot(
            "fleet-connections",
            "lines",
            "Connections to each server",
            "connections",
            connections,
            x,
            label,
            logarithmic=True,
        ),
    )


def _row(name: str, values: Mapping[str, float]) -> Row:
    return Row(name, {key: figure([value]) for key, value in values.items()})
