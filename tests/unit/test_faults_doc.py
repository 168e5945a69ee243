"""The pages of faults say of each fault which test shows it: checked both ways.

docs/faults.md numbers its rows, and a test has its row's number in its name:
`test_fault_12_…`. docs/kubernetes-faults.md has no numbers: `test_fault_k_…`.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"test_fault_(\d{2,3}|k)_\w+")
KUBERNETES = "k"

Row = tuple[str, list[str]]
"""What its tests have in their names, and its cells; the last says what shows it."""


def numbered_rows() -> list[Row]:
    return [
        (number.zfill(2), cells)
        for number, *cells in _table("faults.md")
        if number.isdigit()
    ]


def kubernetes_rows() -> list[Row]:
    """Those below a heading of each table."""
    lines = _table("kubernetes-faults.md")
    return [(KUBERNETES, cells) for cells in lines if not _is_head(cells)]


def _is_head(cells: list[str]) -> bool:
    return cells[-1] == "shown by" or not cells[-1].strip("-")


def _table(page: str) -> Iterator[list[str]]:
    for line in (ROOT / "docs" / page).read_text().splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def rows() -> list[Row]:
    return [*numbered_rows(), *kubernetes_rows()]


def named(cells: list[str]) -> list[str]:
    """Return the tests that a row names."""
    return re.findall(r"`(test_\w+)`", cells[-1])


@cache
def fault_tests() -> frozenset[tuple[str, str]]:
    """Return each test function named after a row, with what the row has for it."""
    return frozenset(_fault_tests())


def _fault_tests() -> Iterator[tuple[str, str]]:
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                match := NAME.fullmatch(node.name)
            ):
                yield match[1], node.name


def test_every_fault_has_its_row() -> None:
    """In order, each with what happens and how long it takes, or what users see."""
    numbers = [int(number) for number, _ in numbered_rows()]
    assert sorted(set(numbers)) == numbers
    for number, cells in rows():
        assert len(cells) == 4, f"row {number} {cells}"
        assert all(cells), f"row {number} {cells} has an empty cell"


def test_every_test_named_exists_and_is_named_in_its_row() -> None:
    """No more, no less: neither can be renamed, added or removed alone."""
    told = {(number, name) for number, cells in rows() for name in named(cells)}
    assert told == fault_tests()


@pytest.mark.parametrize("table", [numbered_rows, kubernetes_rows])
def test_a_row_without_a_test_says_why(table: type[list[Row]]) -> None:
    """In a sentence."""
    for number, cells in table():
        if not named(cells):
            reason = cells[-1]
            assert reason.startswith("Not tested: "), f"row {number} {cells[0]}"
            assert len(reason.split()) > 8, f"row {number} {cells[0]}: {reason}"
            assert reason.endswith("."), f"row {number} {cells[0]}: {reason}"
