"""What docs/compatibility.md shows of the results: tables between marks.

The words around them are written by people. `<!-- matrix: consul -->` begins the
results of the cases about Consul, `<!-- end -->` ends them. `python -m
tests.matrix.page` puts them in anew.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from tests.matrix.results import Result, Seen, read_results, write_results

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "compatibility.md"
RESULTS = DOCS / "compatibility.json"
MARKED = re.compile(r"(<!-- matrix: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NAMES = {"kernel": "Linux", "bcc": "BCC"}
"""Of parts whose names are not written like their cases' with a capital."""
HEADING = """\
| | with | passed | failed | skipped | minutes | seen |
|---|---|---|---|---|---|---|"""


def publish_result(result: Result) -> None:
    """Put it beside the others, in place of an older one, and into the page."""
    results = {**read_results(RESULTS), result.case: result}
    write_results(RESULTS, results)
    PAGE.write_text(refresh(PAGE.read_text(), results))


def refresh(page: str, results: dict[str, Result]) -> str:
    """Return the page with these results in place of those it has."""

    def fill(found: re.Match[str]) -> str:
        about = [each for each in results.values() if _subject(each) == found[2]]
        return f"{found[1]}\n{_shown(about)}\n\n{found[3]}"

    return MARKED.sub(fill, page)


def _subject(result: Result) -> str:
    return result.case.partition("=")[0]


def _shown(results: list[Result]) -> str:
    if not results:
        return "Not run yet."
    ordered = sorted(results, key=lambda result: _numbers(result.case))
    lines = [HEADING, *map(_row, ordered)]
    for title, field in (("Failed", "failed"), ("Skipped", "skipped")):
        reasons = _reasons((r.case, getattr(r, field)) for r in ordered)
        lines += ["", f"{title}:", "", *reasons] if reasons else []
    return "\n".join(lines)


def _row(result: Result) -> str:
    names = [pair.partition("=")[0] for pair in result.case.split(",")]
    mine = ", ".join(_named(name, result) for name in names)
    others = ", ".join(_named(n, result) for n in result.versions if n not in names)
    counts = [result.passed, len(result.failed), len(result.skipped)]
    cells = [f"**{mine}**", others, *counts, round(result.seconds / 60), result.date]
    return f"| {' | '.join(map(str, cells))} |"


def _named(name: str, result: Result) -> str:
    return f"{NAMES.get(name, name.capitalize())} {result.versions[name]}"


def _reasons(told: Iterable[tuple[str, tuple[Seen, ...]]]) -> list[str]:
    """Return a line for each reason of a case or several, with the tests it is of."""
    tests: dict[tuple[str, str], list[str]] = {}
    for case, seen in told:
        for each in seen:
            tests.setdefault((case, each.why), []).append(each.test.partition("[")[0])
    cases: dict[tuple[str, str], list[str]] = {}
    for (case, why), named in tests.items():
        shown = ", ".join(f"`{test}`" for test in dict.fromkeys(named))
        cases.setdefault((shown, why), []).append(case)
    return [
        f"- {', '.join(where)}: {named}: {_escaped(why)}"
        for (named, why), where in cases.items()
    ]


def _escaped(text: str) -> str:
    return re.sub(r"([<>|*_`\[\]])", r"\\\1", text)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


if __name__ == "__main__":
    PAGE.write_text(refresh(PAGE.read_text(), read_results(RESULTS)))
