"""What docs/performance.md shows of a report: its tables, between marks.

The words around them are written by people. `<!-- bench: connect -->` begins what the
part `connect` found, `<!-- end -->` ends it.
"""

import re

from tests.bench import tables
from tests.bench.report import Report

MARKED = re.compile(r"(<!-- bench: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def refresh(page: str, report: Report) -> str:
    """Return the page with the report's tables in place of those it has."""

    def fill(found: re.Match[str]) -> str:
        return f"{found[1]}\n{_shown(found[2], report)}\n\n{found[3]}"

    return MARKED.sub(fill, page)


def marked(page: str) -> list[str]:
    """Return the names between the marks, in order."""
    return [found[2] for found in MARKED.finditer(page)]


def _shown(name: str, report: Report) -> str:
    if name == "machine":
        seen = {**report.machine, **report.versions}
        pairs = ", ".join(f"{what} {value}" for what, value in seen.items())
        return f"{report.date}. {pairs}."
    section = report.section(name)
    return tables.markdown(section) if section else "Not measured in the last run."
