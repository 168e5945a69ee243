"""What commands print is printable."""

import json

import pytest

from consul_ebpf.cli.output import say, say_json, say_json_text
from tests.unit.cli.test_logs import EVIL


def test_fault_126_a_line_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """On either stream, and in UTF-8 whatever was in it."""
    say(f"node {EVIL} läuft")
    say(EVIL, err=True)
    shown = capsys.readouterr()
    for text in shown:
        assert text.endswith("\n")
        assert text[:-1].isprintable()
    assert "läuft" in shown.out


def test_fault_126_json_stays_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours, and somebody else's with characters that JSON itself allows."""
    value = {"name": EVIL, "more": ["ü\x7f\u2028\x9b", 1.5]}
    say_json(value)
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    assert value == json.loads(text)
    theirs = json.dumps(value, ensure_ascii=False, indent=1)
    say_json_text(theirs)
    text = capsys.readouterr().out
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert value == json.loads(text)
