"""What is remembered of a host's past."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from consul_ebpf.views.happenings import Happening, Look
from consul_ebpf.views.timeline import (
    KEPT,
    RESTLESS_SECONDS,
    STAYS,
    TIMELINE_FILE,
    StateSince,
    Stay,
    Timeline,
    TimelineFile,
    catch_up,
    follow,
    since,
    together,
)
from consul_ebpf.views.wording import words_of
from tests.lab.looks import FAILING, READY, server, tables, vip


def look(at: float, *states: object) -> Look:
    slots = {n: state for n, state in enumerate(states) if state}
    return Look(at, tables(slots, {}))  # type: ignore[arg-type]


def test_a_servers_state_is_known_from_its_first_sight() -> None:
    """It stays while the state does, and a change is told once."""
    first = look(1.0, READY, READY)
    timeline = follow(Timeline(), first, first)
    assert ["server_ready"] * 2 == [each.kind for each in timeline.happenings]
    dead = look(5.0, READY, FAILING)
    timeline = follow(timeline, first, dead)
    timeline = follow(timeline, dead, look(9.0, READY, FAILING))
    assert timeline.states[server(1)] == StateSince("failing", 5.0)
    assert since(timeline.states, server(0), "ready") == 1.0
    assert since(timeline.states, server(0), "failing") == 0.0
    assert Happening(5.0, "server_failing", server(1)) == timeline.happenings[-1]
    gone = follow(timeline, dead, look(10.0, READY))
    assert Happening(10.0, "server_gone", server(1)) == gone.happenings[-1]
    assert {server(0)} == set(gone.states)


def test_a_death_that_nobody_saw_is_told_later() -> None:
    """The controller was dead meanwhile: the timeline knows what was before."""
    known = Timeline(states={server(0): StateSince("ready", 1.0)})
    now = look(50.0, FAILING)
    (told,) = follow(known, now, now).happenings
    assert told == Happening(50.0, "server_failing", server(0))


def test_moves_are_counted_and_the_newest_connect_is_known() -> None:
    """A first connect is no move, and one to the same server neither."""
    states = {0: READY, 1: READY}
    looks = [
        Look(float(at), tables(states, {0: where}))
        for at, where in enumerate([(0, None), (1, 0), (2, 1), (3, 1)])
    ]
    timeline, stays = Timeline(), []
    for before, now in itertools.pairwise(looks):
        timeline = follow(timeline, before, now)
        stays.append(timeline.stays["127.64.0.1"])
    assert stays == [
        Stay(1.0, 0, server(0)),
        Stay(2.0, 1, server(1)),
        Stay(3.0, 1, server(1)),
    ]


def moved_at(at: float, slots: Sequence[int], newest: float) -> Look:
    """Return a look at a proxy that connected to these slots, the newest last."""
    held = tables({0: READY, 1: READY}, {0: (len(slots), slots[-1])})
    sockets = tuple((9 + n, slot) for n, slot in enumerate(slots))
    row = replace(held.vips[vip(0)], sockets=sockets, newest=newest)
    return Look(at, replace(held, vips={vip(0): row}), booted=100.0)


def test_a_move_while_nobody_looked_is_told_with_the_kernels_time() -> None:
    """The timeline knows where the proxy was: the controller was dead meanwhile."""
    known = Timeline(stays={"127.64.0.1": Stay(103.0, 2, server(0))})
    now = moved_at(150.0, [0, 1], 40.0)
    timeline = catch_up(known, now)
    assert ["moved"] == [each.kind for each in timeline.happenings]
    assert 140.0 == timeline.happenings[0].at
    assert {"127.64.0.1": Stay(140.0, 3, server(1))} == timeline.stays
    assert catch_up(timeline, now) is timeline


def test_a_move_right_after_the_first_connect_is_told_as_one() -> None:
    """Both came before the first look at them."""
    begun = Timeline([Happening(130.0, "controller_started")])
    (_, told) = catch_up(begun, moved_at(150.0, [0, 1], 40.0)).happenings
    assert ("moved", server(0), server(1)) == (told.kind, told.server, told.to)
    (_, told) = catch_up(begun, moved_at(150.0, [1], 40.0)).happenings
    assert ("connected", server(1)) == (told.kind, told.to)
    before = Look(149.0, tables({0: READY, 1: READY}, {0: (0, None)}))
    (*_, told) = follow(begun, before, moved_at(150.0, [0, 1], 40.0)).happenings
    assert ("moved", server(0), server(1)) == (told.kind, told.server, told.to)


def test_what_was_before_all_that_is_known_is_not_told() -> None:
    """But since when the proxy is there is kept, and what an older version wrote."""
    now = moved_at(150.0, [0, 1], 40.0)
    begun = Timeline([Happening(145.0, "controller_started")])
    timeline = catch_up(begun, now)
    assert begun.happenings == timeline.happenings
    assert {"127.64.0.1": Stay(140.0, 0, server(1))} == timeline.stays
    older = Timeline(stays={"127.64.0.1": Stay(103.0, 2)})
    assert {"127.64.0.1": Stay(103.0, 2, server(1))} == catch_up(older, now).stays


def test_it_does_not_grow_without_end() -> None:
    """Neither by happenings, nor by proxies that come and go."""
    many = [Happening(float(n), "server_gone", f"s{n}") for n in range(KEPT + 9)]
    kept = together([], many, KEPT)
    assert (KEPT, 9.0) == (len(kept), kept[0].at)
    known = Timeline(stays={f"web-{n}": Stay(1.0) for n in range(STAYS)})
    states = {0: READY}
    before, now = (Look(9.0, tables(states, {0: (n, 0)})) for n in (0, 1))
    stays = follow(known, before, now).stays
    assert (STAYS, "127.64.0.1") == (len(stays), list(stays)[-1])


def test_an_event_that_repeats_is_one_line() -> None:
    """With the newest time; another one in between begins anew."""
    cut, other = (Happening(1.0, "event", event=name, count=1) for name in "ab")
    told = together([cut], [cut, other, cut], 9)
    assert [(each.event, each.count) for each in told] == [("a", 2), ("b", 1), ("a", 1)]


def back_and_forth(at: float, n: int = 0) -> Happening:
    here, there = server(n % 2), server(1 - n % 2)
    return Happening(at, "moved", here, there, ["web-1"], 1)


def test_a_proxy_that_goes_back_and_forth_is_one_line() -> None:
    """From its third move within a minute on; a move of another one is told."""
    told: list[Happening] = []
    for n in range(9):
        told = together(told, [back_and_forth(n * 10.0, n)], KEPT)
    first, last = told
    assert (first, last.times, last.at) == (back_and_forth(0.0), 8, 80.0)
    assert words_of(last).endswith(f"moved back and forth 8 times, last to {server(1)}")
    other = replace(back_and_forth(81.0), proxies=["web-2"])
    later = back_and_forth(80.0 + RESTLESS_SECONDS + 1)
    assert [first, last, other, later] == together(told, [other, later], KEPT)


def test_a_death_stays_however_many_proxies_move() -> None:
    """Half of the room is for servers: of them, too, the newest."""
    died = Happening(0.0, "server_failing", server(0))
    moves = [replace(back_and_forth(n), proxies=[f"web-{n}"]) for n in range(3 * KEPT)]
    told = together([died], moves, KEPT)
    assert (KEPT, died, moves[-1]) == (len(told), told[0], told[-1])
    deaths = [Happening(float(n), "server_failing", server(n)) for n in range(KEPT)]
    mixed = together(moves, deaths, KEPT)
    assert [*moves[-KEPT // 2 :], *deaths[KEPT // 2 :]] == mixed


def test_nothing_new_is_the_same_value() -> None:
    """So nothing is written."""
    now = look(1.0, READY)
    timeline = follow(Timeline(), now, now)
    assert follow(timeline, now, now) is timeline


def test_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is read as it was written, also with kinds of another version."""
    file = TimelineFile(tmp_path)
    assert file.read() is None
    timeline = Timeline(
        [Happening(1.0, "unheard of", proxies=["a"], count=1)],
        {server(0): StateSince("ready", 1.0)},
        {"a": Stay(2.0, 3)},
    )
    file.save(timeline)
    assert TimelineFile(tmp_path).read() == timeline
    (tmp_path / TIMELINE_FILE).write_text("{")
    assert TimelineFile(tmp_path).read() is None
    assert "" == caplog.text
    assert TimelineFile(tmp_path).load() == Timeline()
    assert "timeline.json: ignored" in caplog.text
