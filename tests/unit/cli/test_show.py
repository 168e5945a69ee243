"""What `status` shows a person."""

import re
from pathlib import Path

import pytest

from consul_ebpf.cli.columns import PROXY_COLUMNS, SERVER_COLUMNS
from consul_ebpf.cli.findings import Finding, told
from consul_ebpf.cli.show import (
    LEVEL_CODES,
    show,
)
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.snapshot import Snapshot
from consul_ebpf.views.status import status_of
from consul_ebpf.views.timeline import StateSince, Timeline
from consul_ebpf.views.verdict import judged
from tests.lab.looks import FAILING, READY, server, snapshot, tables

COMMANDS = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()


def test_the_page_of_commands_shows_these_columns() -> None:
    """In this order."""
    lines = [line.split("  ") for line in COMMANDS.splitlines()]
    heads = [[each.strip() for each in line if each.strip()] for line in lines]
    for columns in (SERVER_COLUMNS, PROXY_COLUMNS):
        assert list(columns) in heads


def printed(snapshot: Snapshot, capsys: pytest.CaptureFixture[str]) -> list[str]:
    show(judged(status_of(snapshot)), snapshot.at, anew=False)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_dead_server_is_told_before_the_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """How the host is, what is wrong, what to do; what happened last is at the end."""
    timeline = Timeline(
        [Happening(5.0, "server_failing", server(0))],
        {server(0): StateSince("failing", 5.0)},
    )
    held = tables({0: FAILING, 1: READY}, {0: (2, 1)})
    lines = printed(snapshot(65.0, held, timeline=timeline), capsys)
    assert lines[0].startswith("DEGRADED: 1 of 2 servers ready, 1 of 1 proxies")
    assert lines[1] == "  what runs goes on: look at it in the daytime"
    assert lines[2] == f"  degraded server {server(0)} does not answer (for 1 m)"
    assert lines[3] == "           no proxy is on it, they use the others"
    assert lines[4].startswith("        -> look at Consul on 10.0.0.0")
    assert lines[5] == "Consul servers"
    assert "controller: running, pid 7" in lines
    assert lines[-1].endswith(f"server {server(0)} is failing")


def test_a_host_that_is_well_has_one_line_for_that(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Then the tables."""
    lines = printed(snapshot(9.0, tables({0: READY}, {0: (1, 0)})), capsys)
    assert lines[:2] == [
        "OK: 1 of 1 servers ready, 1 of 1 proxies connected, controller pid 7",
        "Consul servers",
    ]


def test_nothing_is_wrapped_or_cut_where_no_terminal_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever COLUMNS says: a program reads it, row by row."""
    monkeypatch.setenv("COLUMNS", "40")
    host = snapshot(9.0, tables(dict.fromkeys(range(8), READY), {0: (1, 0)}))
    lines = printed(host, capsys)
    (row,) = (line for line in lines if line.startswith("web-0 "))
    assert row.endswith(" ".join(server(n) for n in range(8)))


def test_the_exit_codes_are_the_documented_ones() -> None:
    """One for each level, and none of an error's."""
    rows = re.findall(r"^\| (OK|DEGRADED|FAILING) \| (\d) \|", COMMANDS, re.MULTILINE)
    assert rows == [(each.name, str(code)) for each, code in LEVEL_CODES.items()]
    assert not {1, 2, 3, 4} & set(LEVEL_CODES.values())


def test_findings_begin_with_a_verdict_and_what_failed() -> None:
    """Then what warns, then what is well, each in the order of the checks."""
    well, warns = Finding("a", "1"), Finding("b", "2", warn=True)
    failed = Finding.failed("c", "3")
    assert told([well, warns, failed]) == [
        "NOT READY: 3 checks, 1 failed, 1 warn; mend what failed, each line says how",
        *("FAIL c: 3", "warn b: 2", "ok   a: 1"),
    ]
    assert told([warns, well])[0].startswith("READY: 2 checks, 0 failed, 1 warn; ")
    assert told([well])[0] == "READY: 1 checks, all well"
