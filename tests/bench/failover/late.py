"""Tells of a move that took long, step by step as the wire had it. Pure."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from tests.bench.failover.flows import Attempt, Stream
from tests.bench.failover.moves import End, Move

BEFORE_SECONDS = 5.0
"""So far back a proxy's streams are told: they say how it came to where it was."""
AFTER_SECONDS = 0.5


def tell(
    name: str,
    move: Move,
    end: End,
    streams: Iterable[Stream],
    attempts: Iterable[Attempt],
) -> list[str]:
    """Return lines: who moved, then each step with its seconds from the event.

    Args:
        name: the peer's.
        move: that took long.
        end: what it moved for.
        streams: everybody's; those of this proxy are told.
        attempts: everybody's; of this proxy, or refused by a server, are told: it is
            not known whose those were.
    """
    until = end.at + (move.reached or BEFORE_SECONDS) + AFTER_SECONDS
    steps = [
        step
        for stream in streams
        if stream.proxy == move.proxy
        for step in _of_stream(stream)
    ]
    for attempt in attempts:
        if attempt.proxy == move.proxy:
            steps += _of_connection(attempt)
        elif attempt.begun >= end.at and not attempt.accepted:
            said = f"somebody's connect to {attempt.server} is not accepted"
            steps.append((attempt.begun, said))
    took = "never" if move.reached is None else f"{move.reached:.3f} s"
    when = datetime.fromtimestamp(end.at, UTC)
    before = "" if move.answered_before else ", without configuration before"
    return [
        f"{name}: {move.proxy} left {end.server} at {when:%H:%M:%S.%f}: {took}{before}",
        *(
            f"  {at - end.at:+.3f} {said}"
            for at, said in sorted(steps)
            if end.at - BEFORE_SECONDS <= at <= until
        ),
    ]


def _of_stream(stream: Stream) -> Iterator[tuple[float, str]]:
    server = stream.server
    yield stream.asked, f"{server} is asked"
    if stream.taken:
        yield stream.taken, f"{server} takes the stream"
    if stream.answered:
        yield stream.answered, f"{server} sends configuration"
    if stream.ended and stream.turned_away:
        yield stream.ended, f"{server} ends the stream"


def _of_connection(attempt: Attempt) -> Iterator[tuple[float, str]]:
    again = f", {attempt.again} more packets" if attempt.again else ""
    yield attempt.begun, f"connects to {attempt.server}{again}"
    if attempt.ended:
        yield attempt.ended, f"{attempt.server}: ended by the {attempt.how}"


def beside(moves: Mapping[str, Sequence[Move]]) -> str:
    """Say how long the others took that were hit at the same moment."""
    found = {
        name: [move.reached for move in each if move.reached is not None]
        for name, each in moves.items()
    }
    return "  at the same moment: " + "; ".join(
        f"{name} {statistics.median(each):.3f} (worst {max(each):.3f})"
        for name, each in found.items()
        if each
    )
