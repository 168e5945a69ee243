"""Each record is one printable line, whatever is in it."""

import datetime as dt
import json
import logging
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.base.events import event
from consul_ebpf.cli.logs import formatter

EVIL = "x\n2026-11-26T00:00:00.000+00:00 ERROR   forged\x1b[2J\r\u2028\x85\ud800\u202e"

ANYTHING = st.text(st.characters(codec=None, exclude_categories=()))


class Strange:
    """What cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError(EVIL)


def record(message: str, *args: object, error: Exception | None = None) -> Any:
    """Make what a logger makes."""
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("evil\nname", 30, "path", 1, message, args, info)
    made.__dict__.update(event("cut", 2))
    return made


def raised(text: str) -> Exception:
    """Return an error with a traceback and a cause."""
    try:
        try:
            raise ValueError(text)  # noqa: TRY301
        except ValueError as cause:
            raise RuntimeError(text) from cause
    except RuntimeError as error:
        return error


def check(line: str) -> None:
    assert line.isprintable()
    line.encode()


@given(ANYTHING)
def test_fault_126_any_text_is_one_printable_line(text: str) -> None:
    """As message, as argument, and in a traceback with its causes; in both formats."""
    for each in (
        record(text),
        record("a node called %s", text),
        record("failed", error=raised(text)),
    ):
        check(formatter("text").format(each))
        line = formatter("json").format(each)
        assert line.isascii()
        check(line)
        for value in json.loads(line).values():
            if isinstance(value, str):
                check(value)


def test_fault_126_a_forged_line_is_seen_as_what_it_is() -> None:
    """Nothing is lost: what does not print is written as an escape."""
    line = formatter("text").format(record("node %s left", EVIL))
    assert r"node x\n2026-11-26T00:00:00.000+00:00 ERROR   forged\x1b[2J\r" in line
    assert r"\u2028\x85\ud800\u202e left" in line
    told = json.loads(formatter("json").format(record("node %s left", EVIL)))
    assert r"node x\n2026" in told["message"]
    assert ("cut", 2, "WARNING", r"evil\nname") == (
        told["event"],
        told["count"],
        told["level"],
        told["logger"],
    )


@pytest.mark.parametrize("kind", ["text", "json"])
def test_fault_126_a_traceback_is_in_its_line(kind: str) -> None:
    """The end of it, where the error is, when it is long."""
    line = formatter(kind).format(record("failed", error=raised("y" * 50_000)))
    assert "RuntimeError" in formatter(kind).format(record("f", error=raised("y")))
    assert len(line) < 40_000
    check(line)


@pytest.mark.parametrize("kind", ["text", "json"])
@pytest.mark.parametrize(
    ("message", "args"),
    [("%d of %s", ("x", "y")), ("%s", ()), ("%s", (Strange(),)), ("z" * 10**6, ())],
)
def test_what_cannot_be_formatted_is_a_line_all_the_same(
    kind: str, message: str, args: tuple[object, ...]
) -> None:
    """A mistake in a call of the log, or in what it is given; or far too much."""
    line = formatter(kind).format(record(message, *args))
    check(line)
    assert len(line) < 10_000
    assert message[:100] in line


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_times_carry_their_offset(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In local time, as ISO 8601 has it."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        made = record("hello")
        text, _, _ = formatter("text").format(made).partition(" ")
        assert text == json.loads(formatter("json").format(made))["time"]
    finally:
        monkeypatch.undo()
        time.tzset()
    read = dt.datetime.fromisoformat(text)
    assert read.utcoffset() is not None
    assert abs(read.timestamp() - made.created) < 0.001


CRASH = """
import logging, threading, warnings
from consul_ebpf.cli.logs import set_up
from consul_ebpf.config.schema import Log
set_up(Log(format={kind!r}))
warnings.warn("odd\\n\\x1b[2J")
def fail():
    raise ValueError("one\\n\\x1b[2J")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise RuntimeError("two\\n\\x1b[2J")
"""


COMMAND = """
import logging
from consul_ebpf.cli.logs import set_up_commands
set_up_commands()
logging.getLogger("consul_ebpf.x").warning("odd\\n\\x1b[2J")
raise RuntimeError("two\\x1b[2J")
"""


def test_fault_126_a_commands_warnings_and_last_words_are_printable() -> None:
    """Of one that only looks, and so writes no log."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin"},
    )
    lines = done.stderr.removesuffix("\n").split("\n")
    assert r"consul-ebpf: odd\n\x1b[2J" == lines[0]
    assert r"RuntimeError: two\x1b[2J" == lines[-1]
    for line in lines:
        check(line)


@pytest.mark.parametrize("kind", ["text", "json"])
def test_fault_126_what_nobody_caught_is_a_line(kind: str) -> None:
    """The process's own last words, a thread's, and warnings."""
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(kind=kind)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin"},
    )
    lines = done.stderr.removesuffix("\n").split("\n")
    assert 3 == len(lines), done.stderr
    assert 1 == done.returncode
    for line, word in zip(lines, ("odd", "one", "two"), strict=True):
        check(line)
        assert word in line
