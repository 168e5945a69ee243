"""A report's plots as SVG, the same bytes for the same report."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.report import Plot, Report
from tests.bench.samples import spread

mpl.use("svg")
mpl.rcParams |= {
    "svg.hashsalt": "consul_ebpf",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def draw(report: Report, directory: Path) -> list[Path]:
    """Draw every plot of a report into `directory`; return the files."""
    directory.mkdir(parents=True, exist_ok=True)
    return [
        _draw(plot, directory / f"{plot.name}.svg")
        for section in report.sections
        for plot in section.plots
    ]


def _draw(plot: Plot, path: Path) -> Path:
    height = 0.9 + 0.35 * len(plot.series) if plot.kind == "bars" else 3.6
    picture = Figure(figsize=(7.2, max(height, 1.8)), layout="constrained")
    axes = picture.add_subplot()
    KINDS[plot.kind](axes, plot)
    axes.set_title(plot.title, loc="left")
    picture.savefig(path, format="svg", metadata={"Date": None})
    return path


def _distribution(axes: Axes, plot: Plot) -> None:
    """Draw the share of samples up to each value."""
    for name, samples in plot.series.items():
        axes.ecdf(samples, label=f"{name} ({len(samples)})")
    axes.set_xlabel(plot.label)
    axes.set_ylabel("share of all")
    if plot.logarithmic:
        axes.set_xscale("log")
    axes.legend()


def _bars(axes: Axes, plot: Plot) -> None:
    """Draw each one's median, and what nine of ten lie between."""
    names = list(plot.series)
    spreads = [spread(samples) for samples in plot.series.values()]
    medians = [each.median for each in spreads]
    below = [each.median - each.low for each in spreads]
    above = [each.high - each.median for each in spreads]
    axes.barh(names, medians, xerr=(below, above), color="tab:blue", alpha=0.7)
    axes.invert_yaxis()
    axes.set_xlabel(plot.label)
    if plot.logarithmic:
        axes.set_xscale("log")


def _lines(axes: Axes, plot: Plot) -> None:
    """Draw values over what they depend on."""
    for name, values in plot.series.items():
        axes.plot(plot.x, values, marker="o", label=name)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.label)
    if plot.logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.legend()


KINDS: dict[str, Callable[[Axes, Plot], None]] = {
    "bars": _bars,
    "distribution": _distribution,
    "lines": _lines,
}
