"""The rules of membership, all at once, over generated histories."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.values import Server
from tests.lab.story import READY, RULES, A, B, C, D, E, Story

SERVERS = (A, B, C, D, E)
events = st.lists(
    st.one_of(
        st.tuples(st.just("list"), st.sets(st.sampled_from(SERVERS))),
        st.tuples(st.just("up"), st.sampled_from(SERVERS)),
        st.tuples(st.just("down"), st.sampled_from(SERVERS)),
        st.tuples(st.just("wait"), st.floats(0, 400)),
        st.tuples(st.just("outage"), st.integers(1, 5)),
    ),
    max_size=60,
)


def play(story: Story, event: tuple[str, object]) -> None:
    match event:
        case ("list", set(servers)):
            story.lists(*servers)
        case ("up", Server() as server):
            story.up(server)
        case ("down", Server() as server):
            story.down(server)
        case ("wait", float(seconds)):
            story.now += seconds
        case ("outage", int(rounds)):
            for _ in range(rounds):
                story.down(*SERVERS)
        case _:
            pytest.fail(f"no such event: {event}")


@given(events)
def test_a_pool_that_had_a_ready_server_always_has_one(
    story_line: list[tuple[str, object]],
) -> None:
    """Invariant 1, whatever the source and the probes say, in any order."""
    story = Story()
    had_one = False
    for event in story_line:
        play(story, event)
        has_one = READY in story.states.values()
        assert has_one >= had_one
        had_one = has_one


@given(events)
def test_a_listed_server_is_a_member(story_line: list[tuple[str, object]]) -> None:
    """All of the newest list that was not empty, and nobody unprobed is shown."""
    story = Story()
    listed: set[str] = set()
    for kind, value in story_line:
        play(story, (kind, value))
        if kind == "list" and isinstance(value, set) and value:
            listed = {server.id for server in value}
        assert listed <= story.members.keys()
        assert all(
            m.up is not None for i, m in story.members.items() if i not in listed
        )
        shown = {i for i, m in story.members.items() if m.up is not None}
        assert shown == story.states.keys()


@given(events)
def test_no_state_changes_in_a_total_outage(
    story_line: list[tuple[str, object]],
) -> None:
    """After one failure of everybody, more of them change nothing that was shown."""
    story = Story()
    for event in story_line:
        play(story, event)
    story.down(*SERVERS)
    before = story.states
    for _ in range(5):
        story.down(*SERVERS)
    assert before == story.states


@given(events, st.sampled_from(SERVERS))
def test_it_takes_fall_failures_to_fall_and_rise_successes_to_rise(
    story_line: list[tuple[str, object]], server: Server
) -> None:
    """One verdict against the current state changes no probed server's health."""
    story = Story()
    for event in story_line:
        play(story, event)
    member = story.members.get(server.id)
    if member is None or member.up is None:
        return
    if member.up and member.streak > 0:
        story.down(*[server] * (RULES.fall - 1))
    elif not member.up and member.streak < 0:
        story.up(*[server] * (RULES.rise - 1))
    assert member.up == story.members[server.id].up


@given(events)
def test_the_dead_have_failed_and_somebody_answers(
    story_line: list[tuple[str, object]],
) -> None:
    """By the verdicts as they were given: `fall` failures in a row, newest last."""
    story = Story()
    verdicts: dict[str, list[bool]] = {}

    def note(server: Server, alive: bool) -> None:
        if server.id in story.members:
            verdicts.setdefault(server.id, []).append(alive)

    for kind, value in story_line:
        if kind in {"up", "down"}:
            assert isinstance(value, Server)
            note(value, kind == "up")
        elif kind == "outage":
            assert isinstance(value, int)
            for server in SERVERS:
                for _ in range(value):
                    note(server, alive=False)
        play(story, (kind, value))
        verdicts = {i: v for i, v in verdicts.items() if i in story.members}
        for id_ in story.proven_dead:
            assert [False] * RULES.fall == verdicts[id_][-RULES.fall :]
            assert any(v[-1] for v in verdicts.values() if v)
            assert READY in story.states.values()
