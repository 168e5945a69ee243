"""What is shown of moves: nobody who got nowhere is left out."""

from tests.bench.failover.moves import Move
from tests.bench.failover.shown import OURS, plot, table

QUICK = Move("web-1-sidecar-proxy", 0.1, 0.3, 1, 0.01)
SLOW = Move("web-2-sidecar-proxy", 0.3, None, 2, None)
NOWHERE = Move("web-3-sidecar-proxy", None, None, 4, None)


def test_a_peers_row_is_in_times_of_ours() -> None:
    ours, other = table("killed", {OURS: [QUICK], "other": [SLOW]}, 9.0).rows
    assert ours.figures["median"].ratio is None
    ratio = other.figures["median"].ratio
    assert ratio is not None
    assert round(ratio.median, 3) == 3
    assert ours.figures["noticed"].value.median == 0.01
    assert "noticed" not in other.figures


def test_who_got_nowhere_counts_with_all_the_time_there_was() -> None:
    moves = {OURS: [NOWHERE, QUICK]}
    (row,) = table("killed", moves, 9.0).rows
    assert row.figures["worst"].value.median == 9.0
    assert row.note == "2 moves, 1 not in time"
    assert plot("packets dropped", moves, 9.0).series == {OURS: (0.1, 9.0)}
