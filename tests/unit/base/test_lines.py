"""Text from elsewhere, made one printable line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.base.lines import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("server-1", "server-1"),
        ("größer ✓", "größer ✓"),
        ("x\n2026 ERROR \x1b[2J", "x\\n2026 ERROR \\x1b[2J"),
        ("a\u2028b\u202ec", "a\\u2028b\\u202ec"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    """So that it cannot forge a line or clear a screen."""
    assert shown == printable(text)


@given(st.text(st.characters(exclude_categories=()), max_size=3000))
def test_one_line_is_one_printable_line(text: str) -> None:
    """Whatever it is, it can be encoded, and has an end."""
    line = one_line(text, 100)
    assert line.isprintable()
    assert line == line.encode().decode()
    assert len(line) <= 100
