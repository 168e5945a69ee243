"""How long something lasts."""

import pytest

from consul_ebpf.cli.durations import ago, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 m"),
        (192, "3 m 12 s"),
        (7500, "2 h 5 m"),
        (86400 * 4 + 3700, "4 d 1 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    """Two units at most."""
    assert text == span(seconds)


def test_what_is_not_known_is_shown_as_such() -> None:
    """A moment of 0."""
    assert ("5 s", "-") == (ago(15.0, 10.0), ago(15.0, 0.0))
