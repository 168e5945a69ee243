"""Where a connect through a VIP stopped, in words."""

import pytest

from consul_ebpf.cli.whole_way import stopped
from consul_ebpf.kernel.trial import Reached

OTHERS = ["program 7 'cil_sock4_connect'"]


@pytest.mark.parametrize(
    ("reached", "words"),
    [
        (Reached(True, "10.0.0.1:8502", ""), []),
        (Reached(True, "10.9.9.9:8502", ""), []),
        (
            Reached(False, "", "Operation not permitted"),
            ["no redirect", "not permitted"],
        ),
        (Reached(False, "127.0.0.1:1", ""), ["no redirect", "went to 127.0.0.1:1"]),
        (
            Reached(True, "", "Connection refused"),
            ["TCP failed", "before ours", "refused"],
        ),
    ],
)
def test_fault_107_where_it_stopped_is_said(reached: Reached, words: list[str]) -> None:
    """And which other programs are there; nothing where it is a connection."""
    said = stopped(reached, OTHERS)
    assert bool(said) == bool(words)
    for word in [*words, *(OTHERS if words else [])]:
        assert word in said
