"""A move is from the event to a stream that a server takes and keeps."""

from tests.bench.failover.flows import Stream
from tests.bench.failover.moves import End, History, Move

P, A, B, C = "web-1-sidecar-proxy", "127.0.100.1", "127.0.100.2", "127.0.100.3"


def stream(
    server: str,
    asked: float,
    *,
    taken: bool = True,
    ended: float | None = None,
    turned_away: bool = False,
) -> Stream:
    at = asked + 0.1 if taken else None
    answered = asked + 0.4 if taken and (ended is None or ended > asked + 0.4) else None
    return Stream(P, server, asked, asked, at, answered, ended, turned_away)


def rounded(moves: list[Move]) -> list[tuple[float | None, ...]]:
    values = [(m.reached, m.answered, float(m.tries), m.told) for m in moves]
    return [tuple(v if v is None else round(v, 3) for v in row) for row in values]


def test_a_move_is_measured_from_the_event() -> None:
    history = History([stream(A, 1, ended=10.5), stream(B, 11)])
    assert rounded(history.moved(End(A, 10), [P])) == [(1.1, 1.4, 1, 0.5)]


def test_only_those_on_the_server_are_moved() -> None:
    history = History([stream(A, 1, ended=5), stream(B, 6)])
    assert history.moved(End(A, 10), [P]) == []
    assert history.moved(End(B, 10), []) == []


def test_a_server_that_does_not_answer_or_is_full_is_a_try_and_no_arrival() -> None:
    history = History(
        [
            stream(A, 1, ended=10.5),
            stream(B, 11, taken=False, ended=12),
            stream(B, 12, ended=12.2, turned_away=True),
            stream(C, 13),
        ]
    )
    assert rounded(history.moved(End(A, 10), [P])) == [(3.1, 3.4, 3, 0.5)]


def test_who_gets_nowhere_is_told_apart() -> None:
    history = History([stream(A, 1), stream(A, 11, taken=False)])
    assert rounded(history.moved(End(A, 10), [P])) == [(None, None, 1, None)]


def test_who_was_turned_away_is_measured_from_then() -> None:
    """What did not last was no stream that could be lost; nor counts one outside."""
    history = History(
        [
            stream(A, 1, ended=5, turned_away=True),
            stream(B, 6, ended=10, turned_away=True),
            stream(C, 10.1, ended=10.2, turned_away=True),
            stream(A, 11),
        ]
    )
    assert rounded(history.turned_away([P], 9, 20)) == [(1.1, 1.4, 2, 0)]


def test_who_had_not_been_answered_is_told_apart() -> None:
    """It had lost another server just before."""
    history = History(
        [stream(A, 9.8, ended=10.1), stream(B, 11, ended=20.1), stream(C, 21)]
    )
    (first,) = history.moved(End(A, 10), [P])
    (second,) = history.moved(End(B, 20), [P])
    assert (first.answered_before, second.answered_before) == (False, True)
