"""Which pieces of work do not go on."""

import pytest

from consul_ebpf.base.progress import Progress


def test_a_piece_is_stuck_when_it_does_not_go_on() -> None:
    """A long one is not, while its parts get done; one that ends never is."""
    now = 0.0
    progress = Progress(lambda: now)
    with progress.working("a round") as step, progress.working("the upkeep"):
        now = 20.0
        step()
        assert progress.stuck(30) == []
        now = 31.0
        assert progress.stuck(30) == ["the upkeep"]
        now = 51.0
        assert progress.stuck(30) == ["a round", "the upkeep"]
    assert progress.stuck(30) == []


def test_a_piece_that_fails_has_ended() -> None:
    """Whatever it raises."""
    now = 0.0
    progress = Progress(lambda: now)
    with pytest.raises(ZeroDivisionError), progress.working("a round"):
        raise ZeroDivisionError
    now = 100.0
    assert progress.stuck(30) == []
    assert repr(progress) == "<Progress []>"
