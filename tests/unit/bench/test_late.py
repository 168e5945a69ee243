"""A late move is told step by step, from what the wire had."""

from tests.bench.failover.flows import Attempt, Stream
from tests.bench.failover.late import beside, tell
from tests.bench.failover.moves import End, Move

P, OTHER = "web-1-sidecar-proxy", "web-2-sidecar-proxy"
A, B = "127.0.100.1", "127.0.100.2"


def test_each_step_is_told_with_its_time() -> None:
    """And only this proxy's, but for connects that nobody knows the owner of."""
    streams = [
        Stream(P, A, 1, 1, 1.5, 2, 10.1),
        Stream(P, B, 10.5, 10.6, 10.75),
        Stream(OTHER, B, 10.5, 10.6, 10.7),
    ]
    attempts = [
        Attempt(A, 1, 0, 1, 10.1, "server's RST", P),
        Attempt(A, 10.2, 1, None, 10.2, "server's RST"),
        Attempt(B, 10.5, 0, 10.5, proxy=P),
        Attempt(B, 10.5, 0, 10.5, proxy=OTHER),
    ]
    move = Move(P, 0.75, None, 1, 0.1)
    assert tell("ours", move, End(A, 10), streams, attempts) == [
        f"ours: {P} left {A} at 00:00:10.000000: 0.750 s",
        f"  +0.100 {A}: ended by the server's RST",
        f"  +0.200 somebody's connect to {A} is not accepted",
        f"  +0.500 connects to {B}",
        f"  +0.600 {B} is asked",
        f"  +0.750 {B} takes the stream",
    ]


def test_a_server_that_had_said_nothing_is_told() -> None:
    """Envoy waits longer then."""
    move = Move(P, None, None, 1, 0.1, answered_before=False)
    (line,) = tell("ours", move, End(A, 10), [], [])
    assert line.endswith("never, without configuration before")


def test_the_others_of_the_same_moment_stand_beside() -> None:
    """Was it the machine?"""
    moves = [Move(P, took, None, 1, 0) for took in (0.1, 0.2, 0.6)]
    said = beside({"ours": moves, "nobody": []})
    assert said == "  at the same moment: ours 0.200 (worst 0.600)"
