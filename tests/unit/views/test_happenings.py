"""What is told of the difference of two looks."""

import typing
from dataclasses import replace

from consul_ebpf.base.events import Event
from consul_ebpf.views.happenings import NAMED, Happening, Kind, Look, compare
from consul_ebpf.views.wording import EVENTS, LINES, words_of
from tests.lab.looks import FAILING, READY, server, tables, vip

STATES = {0: READY, 1: READY}
BEFORE = Look(1.0, tables(STATES, {0: (1, 0), 1: (1, 0), 2: (0, None)}))


def after(where: dict[int, tuple[int, int | None]]) -> Look:
    return Look(2.0, tables(STATES, where))


def test_nothing_happened() -> None:
    """Of the same tables nothing is told, whenever they are looked at."""
    assert compare(BEFORE, replace(BEFORE, at=9.0)) == []


def test_moves_of_one_pair_of_servers_are_one_happening() -> None:
    """With the proxies' names; a connect to the same server is no move."""
    now = after({0: (2, 1), 1: (2, 1), 2: (1, 1)})
    names = {vip(0): "web", vip(1): "api"}
    moved, connected = compare(BEFORE, replace(now, names=names))[::-1]
    assert moved == Happening(2.0, "moved", server(0), server(1), ["api", "web"], 2)
    assert connected == Happening(2.0, "connected", "", server(1), ["127.64.0.3"], 1)
    assert compare(BEFORE, after({0: (2, 0), 1: (1, 0), 2: (0, None)})) == []


def test_thousands_of_moves_name_few_and_count_all() -> None:
    """What is kept of them does not grow with their number."""
    before = Look(1.0, tables(STATES, dict.fromkeys(range(90), (1, 0))))
    (moved,) = compare(before, after(dict.fromkeys(range(90), (2, 1))))
    assert (NAMED, 90) == (len(moved.proxies), moved.count)
    assert words_of(moved).startswith("90 proxies (127.64.0.1, ")


def test_a_vip_given_to_another_proxy_did_not_move() -> None:
    """Its counters begin anew."""
    before = Look(1.0, tables(STATES, {0: (5, 0)}))
    assert compare(before, after({0: (1, 1)})) == []


def test_proxies_that_come_and_go_are_told() -> None:
    """By the names that each look knows."""
    before = Look(1.0, tables(STATES, {0: (0, None)}), {vip(0): "old"})
    now = Look(2.0, tables(STATES, {1: (0, None)}), {vip(1): "new"})
    told = [words_of(each) for each in compare(before, now)]
    assert told == ["proxy new added", "proxy old removed"]


def test_a_proxy_that_is_new_and_connected_already_is_told_as_both() -> None:
    """It came and connected between two looks."""
    told = compare(Look(1.0, tables(STATES, {})), after({0: (1, 1)}))
    assert ["connected", "proxies_new"] == [each.kind for each in told]


def test_events_are_told_by_how_often_they_happened_meanwhile() -> None:
    """Of one controller; one that is told as a server's state is not told twice."""
    before = replace(BEFORE, pid=7, events={"cut": 2, "mended": 1})
    now = replace(before, events={"cut": 5, "mended": 1, "server_failing": 3})
    assert compare(before, now) == [Happening(1.0, "event", count=3, event="cut")]
    told = compare(before, replace(now, pid=8))
    assert ["controller_ended", "controller_started"] == [each.kind for each in told]


def test_the_programs_state_is_told() -> None:
    """When they are detached, and when they are attached again."""
    gone = replace(BEFORE, attached=False)
    assert [each.kind for each in compare(BEFORE, gone)] == ["detached"]
    assert [each.kind for each in compare(gone, BEFORE)] == ["attached"]


def test_everything_has_words() -> None:
    """Each kind of happening; an event without any is shown by its name."""
    assert set(typing.get_args(Kind)) == set(LINES)
    assert set(EVENTS) <= set(typing.get_args(Event))
    assert words_of(Happening(0.0, "of another version")) == "of another version"
    assert (
        words_of(Happening(0.0, "event", event="so_new", count=2)) == "so new (2 times)"
    )


def test_a_servers_state_is_not_compared_here() -> None:
    """The timeline knows it from earlier."""
    now = Look(2.0, tables({0: FAILING}, {0: (1, 0), 1: (1, 0), 2: (0, None)}))
    assert compare(BEFORE, now) == []
