"""docs/faults.md says of each fault which test shows it: checked both ways."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"test_fault_(\d{2,3})_\w+")


def rows() -> dict[int, list[str]]:
    """Return the table's cells by number; the last says what shows it."""
    found: dict[int, list[str]] = {}
    for line in (ROOT / "docs" / "faults.md").read_text().splitlines():
        number, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if number.isdigit():
            assert int(number) not in found, f"row {number} twice"
            found[int(number)] = cells
    return found


@cache
def fault_tests() -> frozenset[tuple[int, str]]:
    """Return each test function named after a row, with the row's number."""
    return frozenset(_fault_tests())


def _fault_tests() -> Iterator[tuple[int, str]]:
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                match := NAME.fullmatch(node.name)
            ):
                yield int(match[1]), node.name


def test_every_fault_has_its_row() -> None:
    """In order, each with what happens and how long it takes."""
    assert sorted(rows()) == list(rows())
    for number, cells in rows().items():
        assert len(cells) == 4, f"row {number}"
        assert all(cells), f"row {number} has an empty cell"


def test_every_test_named_exists_and_is_named_in_its_row() -> None:
    """No more, no less: neither can be renamed, added or removed alone."""
    named = {
        (number, name)
        for number, cells in rows().items()
        for name in re.findall(r"`(test_\w+)`", cells[-1])
    }
    assert named == fault_tests()


def test_a_row_without_a_test_says_why() -> None:
    """In a sentence."""
    shown = {number for number, _ in fault_tests()}
    for number, cells in rows().items():
        if number not in shown:
            reason = cells[-1]
            assert reason.startswith("Not tested: "), f"row {number}"
            assert len(reason.split()) > 8, f"row {number}: {reason}"
            assert reason.endswith("."), f"row {number}: {reason}"
