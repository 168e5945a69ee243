"""A report is written, read, drawn and shown in the page without loss."""

from pathlib import Path

import pytest

from tests.bench.document import marked, refresh
from tests.bench.machine import ROOT
from tests.bench.report import Plot, Report, Section, Table, read_report, write_report
from tests.bench.samples import rows
from tests.bench.tables import number

SAMPLES = {"direct": [1.0, 2.0], "ours": [1.1, 2.2]}
SECTION = Section(
    "connect",
    (Table("A connect", {"time": "us"}, rows({"time": SAMPLES}, "direct"), "direct"),),
    (
        Plot("one", "bars", "t", "us", {"a": (1.0, 2.0)}),
        Plot("two", "distribution", "t", "s", {"a": (1.0, 2.0)}, logarithmic=True),
        Plot("three", "lines", "t", "s", {"a": (1.0, 2.0)}, x=(1.0, 10.0)),
    ),
    ("A note.",),
    3.0,
)
REPORT = Report("2026-01-01", False, {"cores": "2"}, {"Envoy": "1.40.0"}, (SECTION,))


def test_a_report_comes_back_as_it_was(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path / "new" / "results.json")
    assert read_report(tmp_path / "new" / "results.json") == REPORT


def test_the_same_report_is_drawn_to_the_same_bytes(tmp_path: Path) -> None:
    plots = pytest.importorskip("tests.bench.plots", exc_type=ImportError)
    first = [path.read_bytes() for path in plots.draw(REPORT, tmp_path)]
    assert [path.read_bytes() for path in plots.draw(REPORT, tmp_path)] == first
    assert len(first) == 3
    assert b"<svg" in first[0]


def test_the_page_has_the_tables_between_its_marks() -> None:
    page = "Words.\n<!-- bench: connect -->\nold\n<!-- end -->\nMore.\n"
    shown = refresh(page, REPORT)
    assert "| ours | **x1.10 (1.10-1.10)**, 1.65 |" in shown
    assert "- A note." in shown
    assert "old" not in shown
    assert shown.startswith("Words.\n")
    assert shown.endswith("<!-- end -->\nMore.\n")
    assert refresh(shown, REPORT) == shown


def test_the_published_page_shows_the_published_results() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    results = ROOT / "docs" / "performance" / "results.json"
    if results.exists():
        assert refresh(page, read_report(results)) == page
    assert "machine" in marked(page)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.0123, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (12345, "12,345")],
)
def test_a_number_has_three_digits_that_count(value: float, words: str) -> None:
    assert number(value) == words
