"""What each change costs with 1 to 65,536 proxies, and with 3 to 64 servers.

Each size is a whole runner among fakes, in a process of its own (tests/scale). Two run
side by side, a core each: the largest beside the small ones.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec

from tests.bench.machine import ROOT
from tests.bench.report import Plot, Row, Section, Table
from tests.bench.run import Run
from tests.bench.samples import Samples, figure, rows
from tests.scale.measure import Size

PROXIES = (1, 250, 5_000, 20_000, 65_536)
SERVERS = (3, 8, 16, 64)
WITH_SERVERS = 1_000
"""Proxies where the number of servers is what differs."""
MANY = 10_000
"""More proxies than so many have everything happen once."""
SIDE_BY_SIDE = 2

HEADINGS = {
    "a server dies": "a server dies",
    "a server is back": "it is back",
    "a server drains": "it drains",
    "its rows follow": "all rows without it",
    "its DNS dies": "its DNS dies",
    "one more proxy": "one more proxy",
    "a proxy leaves": "one leaves",
    "a token for all rotates": "a new token for all",
    "a CA file changes": "a new CA",
    "a server dies meanwhile": "a server dies meanwhile",
}
"""By the name of a change."""
WITH_EACH_SERVER = (
    "a server dies",
    "a server is back",
    "a server drains",
    "its rows follow",
)

BEGINS = (
    "A change begins when the controller knows of it: a server's state after the probes"
    " that say so, a file once it is read again (a token within 2 s, a CA within 1 s)."
)
DRAINS = (
    "A server drains with the first write: no new connect goes there. The rows of all"
    " proxies follow, so that the next death is spread as evenly again. The last column"
    " is a death while the files of all are written with another CA."
)
DATAPLANES = (
    "With consul-dataplane a host has a process for each proxy, and each is told of a"
    " change by itself: the part `host` measures those."
)
ONE_ENTRY = (
    "One entry that all proxies share, as in the proof of concept, is one write,"
    " whatever changes; but then all are on one server."
)


@dataclass
class Sizes:
    """Measures sizes, each once; ends what runs when it is interrupted."""

    run: Run
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def measure(self, asked: Sequence[tuple[int, int, float]]) -> list[Size]:
        """Measure each (proxies, servers, seconds of idleness), costly ones first."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as lanes:
            try:
                return list(lanes.map(self._measure_one, asked))
            except BaseException:
                lanes.shutdown(wait=False, cancel_futures=True)
                for each in self._running:
                    each.send_signal(signal.SIGINT)  # it tidies up
                raise

    def _measure_one(self, asked: tuple[int, int, float]) -> Size:
        proxies, servers, idle = asked
        self.run.say(f"{proxies:,} proxies, {servers} servers")
        command = [sys.executable, "-m", "tests.scale.measure"]
        command += [str(proxies), str(servers), "--idle", str(idle)]
        once = self.run.quick or proxies > MANY
        command += ["--rounds", "1" if once else "3"]
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        self._running.append(child)
        said, _ = child.communicate()
        if child.returncode:
            raise RuntimeError(f"{' '.join(command[2:])} ended with {child.returncode}")
        return msgspec.json.decode(said, type=Size)


def measure(run: Run) -> Section:
    """Measure every size."""
    idle = 1.0 if run.quick else 10.0
    proxies = PROXIES[:2] if run.quick else PROXIES
    with_servers, servers = (50, SERVERS[:2]) if run.quick else (WITH_SERVERS, SERVERS)
    asked = [(proxies[-1], 3, idle), *((each, 3, idle) for each in proxies[:-1])]
    asked += [(with_servers, each, 0.0) for each in servers]
    largest, *others = Sizes(run).measure(asked)
    small, by_servers = others[: len(proxies) - 1], others[len(proxies) - 1 :]
    by_proxies = [*small, largest]
    return Section(
        "scale",
        (
            _times(by_proxies),
            _work(by_proxies),
            _whole(by_proxies),
            _servers(by_servers),
        ),
        _plots(by_proxies),
        (
            BEGINS,
            DRAINS,
            DATAPLANES,
            ONE_ENTRY,
        ),
    )


def _proxies(size: Size) -> str:
    return f"{size.proxies:,} {'proxy' if size.proxies == 1 else 'proxies'}"


def _times(sizes: Sequence[Size]) -> Table:
    """Show how long after each change the last write was."""
    columns = {
        heading: {_proxies(size): size.changes[change].ms for size in sizes}
        for change, heading in HEADINGS.items()
    }
    base = _proxies(sizes[0])
    return Table(
        "From a change to the last write for it",
        dict.fromkeys(columns, "ms"),
        rows(columns, base),
        base,
    )


def _work(sizes: Sequence[Size]) -> Table:
    """Show what was written for each change: one row of the table for each."""
    columns = [_proxies(size) for size in sizes]
    found = []
    for change, heading in HEADINGS.items():
        for what, count in (("rows", "rows"), ("files", "files")):
            numbers = [getattr(size.changes[change], count) for size in sizes]
            if any(numbers):
                cells = (figure([number]) for number in numbers)
                found.append(
                    Row(f"{heading}: {what}", dict(zip(columns, cells, strict=True)))
                )
    return Table(
        "Rows and files written for it", dict.fromkeys(columns, ""), tuple(found)
    )


def _whole(sizes: Sequence[Size]) -> Table:
    """Show what serving all of them takes."""

    def of(value: Callable[[Size], float]) -> Samples:
        return {_proxies(size): [value(size)] for size in sizes}

    columns = {
        "to serve all": of(lambda size: size.start_seconds),
        "a plan from nothing": of(lambda size: size.plan_ms),
        "a bootstrap": of(lambda size: size.render_us),
        "controller, PSS": of(lambda size: size.pss_mb),
        "tables": of(lambda size: size.tables_mb),
        "idle": of(lambda size: size.idle_percent or 0.0),
    }
    units = ("s", "ms", "us", "MB", "MB", "% of a core")
    base = _proxies(sizes[0])
    return Table(
        "All of them",
        dict(zip(columns, units, strict=True)),
        rows(columns, base),
        base,
    )


def _servers(sizes: Sequence[Size]) -> Table:
    """Show what differs with the number of servers."""

    def of(value: Callable[[Size], Sequence[float]]) -> Samples:
        return {f"{size.servers} servers": value(size) for size in sizes}

    columns: dict[str, Samples] = {
        HEADINGS[change]: of(lambda size, change=change: size.changes[change].ms)  # type: ignore[misc]
        for change in WITH_EACH_SERVER
    }
    columns["a plan from nothing"] = of(lambda size: [size.plan_ms])
    drained = of(lambda size: [size.changes["its rows follow"].rows])
    base = f"{sizes[0].servers} servers"
    made = rows({**columns, "rows when it drains": drained}, base)
    units = {**dict.fromkeys(columns, "ms"), "rows when it drains": ""}
    return Table(f"More servers, with {sizes[0].proxies:,} proxies", units, made, base)


def _plots(sizes: Sequence[Size]) -> tuple[Plot, ...]:
    at = tuple(float(size.proxies) for size in sizes)
    shown = ("a server dies", "it drains", "one more proxy", "a new token for all")
    times = _times(sizes)
    return (
        Plot(
            "scale",
            "lines",
            "From a change to the last write for it",
            "ms",
            {
                heading: tuple(row.figures[heading].value.median for row in times.rows)
                for heading in shown
            },
            at,
            "proxies",
            logarithmic=True,
        ),
        Plot(
            "scale-memory",
            "lines",
            "Memory of the controller, and of the tables in the kernel",
            "MB",
            {
                "controller, PSS": tuple(size.pss_mb for size in sizes),
                "tables": tuple(size.tables_mb for size in sizes),
            },
            at,
            "proxies",
            logarithmic=True,
        ),
    )
