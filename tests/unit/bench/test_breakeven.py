"""From how many pods on one line is below the other."""

import pytest

from tests.bench.fleet.breakeven import at, break_even

OURS = {1: 50.0, 11: 51.0, 250: 74.9}
THEIRS = {1: 20.0, 11: 65.0}


@pytest.mark.parametrize(
    ("pods", "value"), [(1, 20.0), (3, 29.0), (11, 65.0), (21, 110.0)]
)
def test_a_line_goes_through_what_was_measured(pods: int, value: float) -> None:
    """And on as its last two points lead."""
    assert value == pytest.approx(at(THEIRS, pods))


def test_the_first_size_from_which_on_it_is_less() -> None:
    """Every larger one is, too."""
    found = break_even(OURS, THEIRS)
    assert 8 == found
    assert at(OURS, 8) < at(THEIRS, 8)
    assert at(OURS, 7) >= at(THEIRS, 7)


def test_there_may_be_none() -> None:
    """Where it is less for some, and not for the most."""
    assert break_even(THEIRS, OURS) is None
    assert 1 == break_even({1: 1.0, 9: 2.0}, THEIRS)
