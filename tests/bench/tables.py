"""A report's tables as text: in Markdown, which a terminal shows as well."""

from collections.abc import Callable

from tests.bench.report import Figure, Report, Section, Spread, Table


def text(report: Report) -> str:
    """Return everything that a run found, for a terminal."""
    lines = [f"{name}: {value}" for name, value in report.machine.items()]
    lines += [f"{name} {value}" for name, value in report.versions.items()]
    for section in report.sections:
        lines += ["", f"## {section.name} ({section.seconds:.0f} s)", ""]
        lines.append(markdown(section))
    lines += [f"\n{name} FAILED: {why}" for name, why in report.failed.items()]
    return "\n".join(lines)


def markdown(section: Section) -> str:
    """Return a part's tables and notes."""
    pieces = [_table(table) for table in section.tables]
    pieces += [f"- {note}" for note in section.notes]
    return "\n\n".join(pieces)


def _table(table: Table) -> str:
    columns = [
        f"{heading}, {unit}" if unit else heading
        for heading, unit in table.columns.items()
    ]
    lines = [f"**{table.title}**", "", f"| | {' | '.join(columns)} |"]
    if table.base:
        lines[0] += f" (x: times {table.base}; in brackets: nine of ten)"
    lines.append(f"|---|{'---|' * len(columns)}")
    for row in table.rows:
        cells = [_figure(row.figures.get(heading)) for heading in table.columns]
        note = f" ({row.note})" if row.note else ""
        lines.append(f"| {row.name}{note} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.ratio is None:
        return _spread(figure.value, number)
    return f"**x{_spread(figure.ratio, _ratio)}**, {number(figure.value.median)}"


def _spread(spread: Spread, form: Callable[[float], str]) -> str:
    if spread.count == 1:
        return form(spread.median)
    return f"{form(spread.median)} ({form(spread.low)}-{form(spread.high)})"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def number(value: float) -> str:
    """Write a value with three digits that count, and no exponent; a count as it is."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
