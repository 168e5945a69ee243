"""Draws docs/dashboard.svg: the Grafana dashboard's queries, by a real Prometheus.

`python -m tests.lab.dashboard` does it in three minutes: it starts a host on which much
goes wrong, and draws the series of each panel with matplotlib. It is not Grafana, which
no registry has as a program that could be run here.
"""

import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.lab.ailing import LISTEN, Ailing
from tests.lab.parts import find_consul, find_envoy
from tests.lab.prometheus import Prometheus, Query, queries
from tests.lab.secured import Secured

DOCS = Path(__file__).parents[2] / "docs"
PROMETHEUS = "127.0.0.1:20399"

WELL_SECONDS, ILL_SECONDS = 40, 100
"""Before a server is killed and a token deleted, and after."""

COLUMNS = 2
MOST = 8
"""Series that a panel names."""

STYLE: Any = {
    "svg.hashsalt": "consul-ebpf",
    "svg.fonttype": "none",
    "font.size": 7,
    "axes.titlesize": 8,
}


def draw(prometheus: Prometheus) -> None:
    """Draw each panel with its series of the whole time."""
    panels = [
        (title, list(asked)) for title, asked in groupby(queries(), lambda q: q.panel)
    ]
    rows = -(-len(panels) // COLUMNS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 1.9 * rows), layout="constrained")
        axes = figure.subplots(rows, COLUMNS, squeeze=False)
        for at, (title, asked) in zip(axes.flat, panels, strict=False):
            _panel(at, title, asked, prometheus)
        for unused in axes.flat[len(panels) :]:
            unused.set_axis_off()
        figure.suptitle(
            "The panels of deploy/grafana, of a host whose server died at 0 s:"
            " drawn by matplotlib, not by Grafana"
        )
        figure.savefig(DOCS / "dashboard.svg", format="svg", metadata={"Date": None})


def _panel(axes: Any, title: str, asked: list[Query], prometheus: Prometheus) -> None:
    end = time.time()
    drawn = 0
    for query in asked:
        for each in prometheus.history(query.expression, WELL_SECONDS + ILL_SECONDS):
            at = [float(when) - end + ILL_SECONDS for when, _ in each["values"]]
            values = [float(value) for _, value in each["values"]]
            name = query.name(each["metric"]) if drawn < MOST else None
            axes.plot(at, values, linewidth=1, label=name)
            drawn += 1
    unit = {"short": "", "s": " (seconds)", "ops": " (a second)"}[asked[0].unit]
    axes.set_title(title + unit, loc="left")
    axes.set_xlim(-WELL_SECONDS, ILL_SECONDS)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, linewidth=0.3)
    axes.legend(fontsize=5, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def main() -> None:
    """Run the host, and draw."""
    consul, envoy = find_consul(), find_envoy()
    if not (consul and envoy):
        sys.exit("no Consul or no Envoy: run with nox")
    with (
        tempfile.TemporaryDirectory() as directory,
        Secured.running(consul, Path(directory), "1h") as secured,
        Ailing.running(secured, envoy) as host,
        Prometheus(PROMETHEUS, [LISTEN]) as prometheus,
    ):
        time.sleep(WELL_SECONDS)
        host.kill_server()
        host.delete_token()
        time.sleep(ILL_SECONDS)
        draw(prometheus)


if __name__ == "__main__":
    main()
