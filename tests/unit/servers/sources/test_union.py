"""Answers that name some of the servers, put together."""

import random

from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.values import MAX_SERVERS, Server
from consul_ebpf.servers.sources.union import (
    KEEP_MOST,
    KEEP_SAMPLED_MOST,
    Found,
    Union,
)

ALL = [Server.at(f"10.0.0.{number}", 8502) for number in range(1, 6)]


def found(*servers: Server, again: float = 1.0, partial: bool = False) -> Found:
    return Found(servers, again, partial=partial)


@given(st.integers(), st.integers(2, 5), st.sampled_from([1.0, 5.0, 30.0, 60.0]))
def test_fault_124_random_answers_become_one_list(
    seed: int, number: int, again: float
) -> None:
    """Some of five each time: once all were named, the list never changes."""
    choice, union = random.Random(seed), Union()
    changes, last = 0, None
    for step in range(200):
        servers = choice.sample(ALL, number)
        got = union.add(found(*servers, again=again), step * again)
        changes += got != last
        last = got
        if step > 60:
            assert tuple(ALL) == got
    # The first answers, each with somebody new, and seldom one that was away for long.
    assert changes <= 8


@given(
    st.lists(
        st.tuples(st.sets(st.integers(0, 4)), st.floats(1, 3600), st.floats(0.1, 5000)),
        min_size=1,
    )
)
def test_what_is_named_is_there_and_what_is_not_goes(
    answers: list[tuple[set[int], float, float]],
) -> None:
    """At once the one; the other with an answer after the longest time."""
    union, now, named = Union(), 0.0, dict.fromkeys(ALL, float("-inf"))
    for numbers, again, pause in answers:
        now += pause
        newest = [ALL[number] for number in numbers]
        named.update(dict.fromkeys(newest, now))
        got = union.add(found(*newest, again=again), now)
        assert set(newest) <= set(got)
        assert sorted(got, key=lambda each: each.id) == list(got)
        longest = max(KEEP_MOST, KEEP_SAMPLED_MOST)
        assert all(now - named[each] <= longest for each in got)


def test_a_whole_answers_server_that_goes_is_kept_for_three_answers_only() -> None:
    """Nobody has ever come back, so answers are whole."""
    union = Union()
    for now in range(100):
        union.add(found(*ALL), now)
    gone = [now for now in range(100, 130) if ALL[4] in union.add(found(*ALL[:4]), now)]
    assert [*range(100, 110)] == gone
    slow = Union()
    slow.add(found(*ALL, again=300.0), 0)
    assert tuple(ALL[:4]) == slow.add(found(*ALL[:4], again=300.0), 300)


def test_what_could_not_be_asked_is_not_gone() -> None:
    """However long that lasts; and it has not come back when it is named again."""
    union = Union()
    union.add(found(*ALL), 0)
    for now in range(1, 5000):
        assert tuple(ALL) == union.add(found(ALL[0], partial=True), now)
    union.add(found(*ALL), 5000)
    for now in range(5001, 5012):
        got = union.add(found(ALL[0]), now)
    assert (ALL[0],) == got


def test_answers_without_end_fill_nothing() -> None:
    """The servers named last stay."""
    union = Union()
    for now in range(100):
        servers = [Server.at(f"10.1.{now}.{n}", 8502) for n in range(40)]
        got = union.add(found(*servers), now)
        assert len(got) <= MAX_SERVERS
        assert set(servers) <= set(got)
