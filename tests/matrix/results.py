"""What was seen of each case: plain values, kept as JSON beside the page."""

from pathlib import Path

import msgspec


class Seen(msgspec.Struct, frozen=True):
    """A test that failed or was skipped, and the reason in one line."""

    test: str
    why: str


class Result(msgspec.Struct, frozen=True):
    """One run of a case: `versions` as the parts themselves say, by name."""

    case: str
    date: str
    revision: str
    versions: dict[str, str]
    tests: tuple[str, ...]
    passed: int
    failed: tuple[Seen, ...]
    skipped: tuple[Seen, ...]
    seconds: int


def read_results(path: Path) -> dict[str, Result]:
    """Return the newest result of each case, by its name."""
    if not path.exists():
        return {}
    results = msgspec.json.decode(path.read_bytes(), type=tuple[Result, ...])
    return {result.case: result for result in results}


def write_results(path: Path, results: dict[str, Result]) -> None:
    """Write them in the order of their names."""
    ordered = [results[case] for case in sorted(results)]
    text = msgspec.json.format(msgspec.json.encode(ordered), indent=1)
    path.write_bytes(text + b"\n")


def told(result: Result) -> str:
    """Return it as a line, and one for each test that failed."""
    counts = f"{result.passed} passed, {len(result.failed)} failed"
    lines = [f"{result.case}: {counts}, {len(result.skipped)} skipped"]
    lines += [f"  failed: {each.test}: {each.why}" for each in result.failed]
    return "\n".join(lines)
