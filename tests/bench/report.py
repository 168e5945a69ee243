"""What a run of the bench found: plain values, as they stand in its JSON."""

from pathlib import Path

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """Samples in short: the median, and what nine of ten of them lie between."""

    median: float
    low: float
    high: float
    count: int


class Figure(msgspec.Struct, frozen=True):
    """What was measured, and how many times the base's it is.

    There is no ratio where there is no base, as for the base itself.
    """

    value: Spread
    ratio: Spread | None = None


class Row(msgspec.Struct, frozen=True):
    """One of those compared: its figure in each column that it has."""

    name: str
    figures: dict[str, Figure]
    note: str = ""


class Table(msgspec.Struct, frozen=True):
    """Rows beside each other.

    `columns` maps each column's heading to its unit, such as "us". `base` is the row
    that ratios are to.
    """

    title: str
    columns: dict[str, str]
    rows: tuple[Row, ...]
    base: str = ""


class Plot(msgspec.Struct, frozen=True):
    """A picture, with all that is drawn in it.

    `kind`: "distribution" (a series is samples, in any order), "bars" (a series is one
    bar's samples) or "lines" (`x` has what a series' values stand at).
    """

    name: str
    kind: str
    title: str
    label: str
    series: dict[str, tuple[float, ...]]
    x: tuple[float, ...] = ()
    x_label: str = ""
    logarithmic: bool = False


class Section(msgspec.Struct, frozen=True):
    """What one part of the bench found."""

    name: str
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """A whole run: when, on what, and what each part found.

    `failed` maps each part that ended without a result to why.
    """

    date: str
    quick: bool
    machine: dict[str, str]
    versions: dict[str, str]
    sections: tuple[Section, ...]
    failed: dict[str, str] = {}

    def section(self, name: str) -> Section | None:
        """Return what the part of this name found; None: it has not run."""
        return next((each for each in self.sections if each.name == name), None)


def read_report(path: Path) -> Report:
    """Read what `write_report` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON, a line for each value that people compare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
