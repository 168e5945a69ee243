"""The part `failover`: what is counted apart, and what is shown of it."""

from tests.bench.failover.moves import Move
from tests.bench.parts.failover import (
    ALIVE,
    DEAD,
    KILLED,
    SILENT_YET,
    by_answer,
    section,
)

ANSWERED = Move("web-1-sidecar-proxy", 0.1, 0.3, 1, 0.01)
SILENT = Move("web-2-sidecar-proxy", 0.3, 0.5, 1, 0.01, answered_before=False)


def test_no_move_is_lost_between_the_two_tables() -> None:
    """Each is in one of them, by whether its server had answered."""
    kinds = by_answer({ALIVE: [ANSWERED, SILENT], DEAD: [SILENT]})
    assert kinds[KILLED] == {ALIVE: [ANSWERED], DEAD: []}
    assert kinds[SILENT_YET] == {ALIVE: [SILENT], DEAD: [SILENT]}


def test_what_did_not_happen_has_no_table() -> None:
    """And what happened to few has no plot."""
    both = section(by_answer({ALIVE: [ANSWERED, SILENT]}), (), 75.0)
    assert len(both.tables) == 2
    assert [each.name for each in both.plots] == ["failover-killed"]
    assert len(section(by_answer({ALIVE: [ANSWERED]}), (), 75.0).tables) == 1
