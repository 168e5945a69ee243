"""What pytest says of a run, read from the file that `--junitxml` makes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.matrix.results import Result, Seen

WHY_LENGTH = 300


def read_outcomes(paths: Iterable[Path]) -> dict[str, tuple[str, str]]:
    """Return each test's outcome and its reason; a later file overrides.

    The outcome is "passed", "failed" or "skipped"; a test that passed has no reason.
    """
    found: dict[str, tuple[str, str]] = {}
    for path in paths:
        for case in ET.parse(path).iter("testcase"):
            test = f"{case.get('classname', '')}::{case.get('name', '')}"
            found[test] = _outcome(case)
    return found


def seen(outcomes: dict[str, tuple[str, str]], outcome: str) -> tuple[Seen, ...]:
    """Return the tests with this outcome, sorted."""
    return tuple(
        Seen(test, why)
        for test, (kind, why) in sorted(outcomes.items())
        if kind == outcome
    )


def make_result(
    case: str,
    revision: str,
    versions: Mapping[str, str],
    tests: tuple[str, ...],
    outcomes: dict[str, tuple[str, str]],
    seconds: float,
) -> Result:
    """Return what was seen today of a case with these versions of its parts."""
    failed, skipped = seen(outcomes, "failed"), seen(outcomes, "skipped")
    return Result(
        case=case,
        date=datetime.now(UTC).date().isoformat(),
        revision=revision,
        versions=dict(versions),
        tests=tests,
        passed=len(outcomes) - len(failed) - len(skipped),
        failed=failed,
        skipped=skipped,
        seconds=round(seconds),
    )


def _outcome(case: ET.Element) -> tuple[str, str]:
    for tag, outcome in (("failure", "failed"), ("error", "failed")):
        if (told := case.find(tag)) is not None:
            return outcome, _line(told.get("message") or told.text or "")
    if (told := case.find("skipped")) is not None:
        return "skipped", _line(told.get("message") or "")
    return "passed", ""


def _line(text: str) -> str:
    """Return the first lines as one, and no more of it than a table can hold."""
    line = " ".join(text.split())
    return line if len(line) <= WHY_LENGTH else f"{line[: WHY_LENGTH - 3]}..."
