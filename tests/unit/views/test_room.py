"""Who may have how many connections."""

from consul_ebpf.views.room import Limits, Room

LIMITS = Limits(total=10, others=6, each=4, tcp=5, address=3)
ROOT, OWN, ANN, BOB = 0, 7, 1000, 1001


def room() -> Room:
    return Room(frozenset({ROOT, OWN}), LIMITS)


def fill(room: Room, who: int | str) -> int:
    """Enter until there is no room; return how often there was."""
    count = 0
    while room.enter(who):
        count += 1
    return count


def test_each_other_has_his_share() -> None:
    """One user cannot take all that is for others."""
    full = room()
    assert (4, 2, 0) == (fill(full, ANN), fill(full, BOB), fill(full, 1002))


def test_there_is_always_room_for_those_who_run_the_host() -> None:
    """Whatever the others hold."""
    full = room()
    for uid in range(1000, 1010):
        fill(full, uid)
    for n in range(10):
        fill(full, f"10.0.0.{n}")
    assert 3 == fill(full, ROOT) - 1
    full.leave(ROOT)
    assert full.enter(OWN)
    assert not full.enter(ROOT)


def test_the_total_is_one_for_all() -> None:
    """Root himself cannot take more descriptors than that."""
    full = room()
    assert 10 == fill(full, ROOT)
    assert not full.enter(ANN)


def test_tcp_takes_nothing_from_the_socket() -> None:
    """Each address has its share, and all together have theirs."""
    full = room()
    counts = fill(full, "10.0.0.1"), fill(full, "10.0.0.2"), fill(full, "10.0.0.3")
    assert (3, 2, 0) == counts
    assert 4 == fill(full, ANN)


def test_who_is_in_the_way() -> None:
    """Himself; else who has most of what he shares with others."""
    full = room()
    assert frozenset() == full.in_the_way(ANN)
    fill(full, ANN)
    assert {ANN} == full.in_the_way(ANN)
    fill(full, BOB)
    assert {ANN} == full.in_the_way(1002)
    fill(full, ROOT)
    assert {ANN, ROOT} == full.in_the_way(OWN)
    fill(full, "10.0.0.1")
    assert {"10.0.0.1"} == full.in_the_way("10.0.0.1")
    assert frozenset() == full.in_the_way("10.0.0.2")


def test_who_leaves_makes_room() -> None:
    """For himself and for others."""
    full = room()
    fill(full, ANN)
    full.leave(ANN)
    assert full.enter(ANN)
    assert "<Room 4 connections>" == repr(full)


def test_half_of_the_descriptors_are_for_others() -> None:
    """Where there are few of them, all shares become smaller."""
    limits = Limits()
    for enough in (1024, 65536, -1):
        assert limits == limits.within(enough)
    few = limits.within(256)
    assert few.total + few.tcp <= 128
    assert few.each < few.others < few.total
    assert Limits(1, 1, 1, 1, 1) == limits.within(1)
