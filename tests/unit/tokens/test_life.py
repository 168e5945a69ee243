"""When a token is replaced, and what refusals teach."""

import math

import pytest

from consul_ebpf.model.lifetime import FOREVER, UNKNOWN, Lifetime
from consul_ebpf.tokens.life import FIRST_TRIAL, LearnedLife, renew_in


def test_when_a_token_is_replaced() -> None:
    """Between half of its life and six tenths; at once when that is over."""
    minute = Lifetime(100)
    assert renew_in(0, 0, minute, 0) == pytest.approx(60)
    assert renew_in(0, 0, minute, 1) == pytest.approx(50)
    assert renew_in(70, 0, minute, 0) == 0
    assert renew_in(0, 0, Lifetime(0.001), 0) >= 5
    assert renew_in(0, 0, UNKNOWN, 0.5) == renew_in(0, 0, FOREVER, 0.5) == math.inf


def test_never_is_no_unknown() -> None:
    """And no length is negative or no number."""
    assert FOREVER.known
    assert not FOREVER.ends
    assert not UNKNOWN.known
    assert Lifetime(60).ends
    assert [str(each) for each in (FOREVER, UNKNOWN, Lifetime(60))] == [
        *("for ever", "unknown", "60 s")
    ]
    for wrong in (-1.0, math.nan):
        with pytest.raises(ValueError, match="a lifetime of"):
            Lifetime(wrong)


def test_two_alike_teach() -> None:
    """One does not; what differs begins anew; what is short teaches nothing."""
    learned = LearnedLife()
    learned.note_refusal(300, 360)
    assert learned.lifetime == UNKNOWN
    learned.note_refusal(1000, 1060)
    assert learned.lifetime == UNKNOWN
    learned.note_refusal(2, 10)
    learned.note_refusal(0, 1040)  # nobody looked meanwhile
    assert learned.lifetime == UNKNOWN
    learned.note_refusal(960, 1020)
    assert learned.lifetime == Lifetime(990)


@pytest.mark.parametrize("seconds", [1, 10, 59])
def test_short_lives_are_never_learned(seconds: float) -> None:
    """However many."""
    learned = LearnedLife()
    for _ in range(10):
        learned.note_refusal(seconds, seconds)
    assert learned.lifetime == UNKNOWN


def test_what_lives_longer_is_unlearned() -> None:
    """Now and then one is left to show it."""
    learned = LearnedLife()
    for _ in range(2):
        learned.note_refusal(300, 310)
    replaced = 0
    while learned.lifetime.known:
        learned.note_replacement()
        replaced += 1
    assert replaced == FIRST_TRIAL
    learned.note_refusal(300, 310)  # it held
    for _ in range(2 * FIRST_TRIAL):
        assert learned.lifetime == Lifetime(305)
        learned.note_replacement()
    assert learned.lifetime == UNKNOWN
    learned.note_acceptance(350)
    learned.note_acceptance(400)
    learned.note_refusal(500, 510)
    assert learned.lifetime == UNKNOWN
