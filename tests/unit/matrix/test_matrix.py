"""The matrix: cases are read, results kept, and the page shows just those."""

from pathlib import Path

import msgspec
import pytest

from tests.lab.parts import CONSUL
from tests.matrix import page
from tests.matrix.cases import CASES, NEWEST, parse_case
from tests.matrix.junit import read_outcomes, seen
from tests.matrix.kernels.guests import GUESTS
from tests.matrix.results import Result, Seen, read_results, write_results

RESULT = Result(
    case="consul=1.18.2",
    date="2026-01-01",
    revision="abc",
    versions={"consul": "1.18.2", "envoy": "1.40.0", "python": "3.11.2"},
    tests=("tests/consul",),
    passed=3,
    failed=(Seen("tests.consul.test_x::test_y", "AssertionError: <b> | _c_"),),
    skipped=(),
    seconds=130,
)
PAGE = "words\n<!-- matrix: consul -->\nold\n<!-- end -->\nmore\n"
JUNIT = """<testsuites><testsuite>
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><failure message="E&#10; twice"/></testcase>
<testcase classname="a" name="three"><skipped message="no DNS"/></testcase>
<testcase classname="a" name="four"><error>at teardown</error></testcase>
</testsuite></testsuites>"""


def test_the_page_shows_the_results() -> None:
    """To mend: `python -m tests.matrix.page`."""
    text = page.PAGE.read_text()
    assert page.refresh(text, read_results(page.RESULTS)) == text


def test_every_result_is_of_a_case_that_can_be_asked_for() -> None:
    for name, result in read_results(page.RESULTS).items():
        if name.startswith("kernel="):
            version = name.removeprefix("kernel=")
            assert version in GUESTS
            assert result.versions["kernel"].startswith(f"{version}.")
            continue
        assert parse_case(name).name == name
        for part, version in parse_case(name).named.items():
            assert result.versions[part].startswith(version)


def test_the_page_has_a_place_for_every_part() -> None:
    marked = {found[2] for found in page.MARKED.finditer(page.PAGE.read_text())}
    assert {case.subject for case in CASES} <= marked


def test_the_newest_consul_is_what_all_other_tests_use() -> None:
    assert CONSUL.version == NEWEST["consul"]


def test_a_case_names_some_parts_and_has_them_all() -> None:
    case = parse_case("envoy=1.36.4,consul=1.99.0")
    assert case.name == "consul=1.99.0,envoy=1.36.4"
    assert case.subject == "consul"
    assert {**NEWEST, "consul": "1.99.0", "envoy": "1.36.4"} == case.versions


@pytest.mark.parametrize("text", ["", "consul", "consul=", "nomad=1.0", "-k"])
def test_what_is_no_case_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write consul=1\.18\.2"):
        parse_case(text)


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert read_results(path) == {}
    write_results(path, {RESULT.case: RESULT})
    assert read_results(path) == {RESULT.case: RESULT}


def test_a_row_and_its_reasons_are_shown() -> None:
    shown = page.refresh(PAGE, {RESULT.case: RESULT})
    assert "| **Consul 1.18.2** | Envoy 1.40.0, Python 3.11.2 | 3 | 1 | 0 |" in shown
    assert r"AssertionError: \<b\> \| \_c\_" in shown
    assert "old" not in shown
    assert page.refresh(shown, {RESULT.case: RESULT}) == shown


def test_a_reason_that_several_cases_have_is_said_once() -> None:
    other = msgspec.structs.replace(RESULT, case="consul=1.20.6")
    shown = page.refresh(PAGE, {each.case: each for each in (RESULT, other)})
    assert shown.count("AssertionError") == 1
    assert "consul=1.18.2, consul=1.20.6: `tests.consul.test_x::test_y`" in shown


def test_what_pytest_says_is_read_and_the_last_run_counts(tmp_path: Path) -> None:
    first, again = tmp_path / "0.xml", tmp_path / "1.xml"
    first.write_text(JUNIT)
    passed = '<testsuite><testcase classname="a" name="two"/></testsuite>'
    again.write_text(passed)
    outcomes = read_outcomes([first])
    assert seen(outcomes, "failed") == (
        Seen("a::four", "at teardown"),
        Seen("a::two", "E twice"),
    )
    assert seen(outcomes, "skipped") == (Seen("a::three", "no DNS"),)
    assert seen(read_outcomes([first, again]), "passed") == (
        Seen("a::one", ""),
        Seen("a::two", ""),
    )
