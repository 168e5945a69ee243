"""What is told of servers that died."""

from consul_ebpf.views.deaths import (
    BEFORE_SECONDS,
    LOST_SECONDS,
    Left,
    LostServer,
    deserted,
    left,
    lost_servers,
)
from consul_ebpf.views.happenings import NAMED, Happening

DEAD, OTHER = "10.0.0.8:8502", "10.0.0.9:8502"


def moved(at: float, *proxies: str, count: int = 0, server: str = DEAD) -> Happening:
    named = list(proxies)
    return Happening(at, "moved", server, OTHER, named, count or len(named))


def test_who_left_a_server_when_it_died() -> None:
    """Not who left it long before; who is named twice moved twice."""
    timeline = [moved(10.0, "old"), moved(99.0, "a", "b"), moved(101.0, "b", "c")]
    assert Left(["a", "b", "c"], 3) == left(timeline, DEAD, 10.5 + BEFORE_SECONDS)
    assert Left() == left(timeline, OTHER, 100.0)
    many = [f"p{n}" for n in range(NAMED)]
    found = left([moved(99.0, *many, count=5000), moved(99.5, "x")], DEAD, 100.0)
    assert Left(many, 5001) == found


def test_a_server_that_died_is_lost_for_an_hour() -> None:
    """Not one that was taken off while it was well, nor one that is back."""
    timeline = [
        moved(9.0, "a"),
        Happening(10.0, "server_failing", DEAD),
        Happening(20.0, "server_gone", DEAD),
        Happening(20.0, "server_gone", OTHER),
    ]
    assert [LostServer(DEAD, 10.0, Left(["a"], 1))] == lost_servers(timeline, 30.0)
    assert [] == lost_servers(timeline, 10.0 + LOST_SECONDS)
    back = [*timeline, Happening(25.0, "server_ready", DEAD)]
    assert [] == lost_servers(back, 30.0)


def test_a_server_is_deserted_until_something_comes_back_to_it() -> None:
    """A proxy, or the controller's word."""
    timeline = [Happening(1.0, "server_ready", DEAD), moved(9.0, "a")]
    assert LostServer(DEAD, 9.0, Left(["a"], 1)) == deserted(timeline, DEAD)
    assert deserted(timeline, OTHER) is None
    came = Happening(9.5, "connected", "", DEAD, ["b"], 1)
    assert deserted([*timeline, came], DEAD) is None
    assert deserted([], DEAD) is None
