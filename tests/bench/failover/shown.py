"""What is shown of moves: a table and a plot for each kind of end. Pure."""

import statistics
from collections.abc import Mapping, Sequence

from tests.bench.failover.moves import Move
from tests.bench.report import Figure, Plot, Row, Table
from tests.bench.samples import spread

OURS = "this project"
"""The row that ratios are to."""


def table(kind: str, moves: Mapping[str, Sequence[Move]], unreached: float) -> Table:
    """Compare the peers after one kind of end.

    Args:
        kind: what happened to the server.
        moves: by each peer's name.
        unreached: seconds that count for a proxy that got to no server.
    """
    ours = reached(moves.get(OURS, ()), unreached)
    base = statistics.median(ours) if ours else None
    return Table(
        f"{kind.capitalize()}: until a proxy is on another server",
        {
            "median": "s",
            "9 of 10": "s",
            "worst": "s",
            "noticed": "s",
            "answered": "s",
            "tries": "",
        },
        tuple(_row(name, each, base, unreached) for name, each in moves.items()),
        OURS,
    )


def _row(name: str, moves: Sequence[Move], base: float | None, unreached: float) -> Row:
    took = reached(moves, unreached)
    ratio = None if name == OURS or base is None else [each / base for each in took]
    figures = {
        "median": Figure(spread(took), spread(ratio) if ratio else None),
        "9 of 10": Figure(spread([took[(len(took) * 9 - 1) // 10]])),
        "worst": Figure(spread([took[-1]])),
        "tries": Figure(spread([float(move.tries) for move in moves])),
    }
    for column, times in (
        ("noticed", [move.told for move in moves]),
        ("answered", [move.answered for move in moves]),
    ):
        if known := [each for each in times if each is not None]:
            figures[column] = Figure(spread([statistics.median(known)]))
    never = sum(move.reached is None for move in moves)
    note = f"{len(moves)} moves"
    return Row(name, figures, f"{note}, {never} not in time" if never else note)


def plot(kind: str, moves: Mapping[str, Sequence[Move]], unreached: float) -> Plot:
    """Draw each peer's distribution."""
    return Plot(
        f"failover-{kind.replace(' ', '-')}",
        "distribution",
        f"{kind.capitalize()}: until a proxy is on another server",
        "seconds",
        {name: tuple(reached(each, unreached)) for name, each in moves.items()},
        logarithmic=True,
    )


def reached(moves: Sequence[Move], unreached: float) -> list[float]:
    """Return the seconds until each was on another server, the shortest first."""
    return sorted(unreached if m.reached is None else m.reached for m in moves)
