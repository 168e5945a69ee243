"""The membership rules, one by one and then all at once."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.values import MAX_SERVERS, PooledServer, Server, ServerState
from consul_ebpf.servers.membership import (
    Members,
    Rules,
    of_known,
    panicking,
    pooled,
    untested,
    with_list,
    with_verdict,
)

RULES = Rules()
READY, FAILING, DRAINING = ServerState.READY, ServerState.FAILING, ServerState.DRAINING
A, B, C, D, E = (
    replace(Server.at(f"10.0.0.{i}", 8502), id=id_) for i, id_ in enumerate("abcde", 1)
)


class Story:
    """Events on a clock, and what the pool makes of them."""

    def __init__(self, *servers: Server) -> None:
        self.members: Members = {}
        self.now = 1000.0
        self.lists(*servers)
        for server in servers:
            self.up(server)

    def lists(self, *servers: Server) -> None:
        self.members = with_list(self.members, servers, self.now, RULES)

    def up(self, *servers: Server) -> None:
        self._verdicts(servers, alive=True)

    def down(self, *servers: Server) -> None:
        self._verdicts(servers, alive=False)

    def dead(self, *servers: Server) -> None:
        for _ in range(RULES.fall):
            self.down(*servers)

    def _verdicts(self, servers: Sequence[Server], *, alive: bool) -> None:
        for server in servers:
            self.members = with_verdict(self.members, server, alive, self.now, RULES)

    @property
    def states(self) -> dict[str, ServerState]:
        return {p.server.id: p.state for p in pooled(self.members, self.now, RULES)}

    @property
    def proven_dead(self) -> set[str]:
        shown = pooled(self.members, self.now, RULES)
        return {p.server.id for p in shown if p.dead}


def test_a_new_server_is_not_shown_before_its_first_verdict() -> None:
    """Nothing is known of it; it is neither ready nor failing."""
    story = Story(A)
    story.lists(A, B)
    assert untested(story.members)
    assert {"a": READY} == story.states


def test_a_first_success_makes_a_new_server_ready() -> None:
    """Starting is quick: `rise` is for those that failed."""
    story = Story(A)
    assert {"a": READY} == story.states
    assert not untested(story.members)


def test_a_first_failure_makes_a_new_server_failing() -> None:
    """From there it has to rise."""
    story = Story(A)
    story.lists(A, B)
    story.down(B)
    assert {"a": READY, "b": FAILING} == story.states
    story.up(B)
    assert {"a": READY, "b": FAILING} == story.states
    story.up(B)
    assert {"a": READY, "b": READY} == story.states


def test_a_ready_server_falls_after_enough_failures_in_a_row() -> None:
    """A success in between starts the count again."""
    story = Story(A, B)
    story.down(B, B)
    story.up(B)
    story.down(B, B)
    assert {"a": READY, "b": READY} == story.states
    story.down(B)
    assert {"a": READY, "b": FAILING} == story.states


def test_a_failing_server_rises_after_enough_successes_in_a_row() -> None:
    """A failure in between starts the count again."""
    story = Story(A, B)
    story.dead(B)
    story.up(B)
    story.down(B)
    story.up(B)
    assert {"a": READY, "b": FAILING} == story.states
    story.up(B)
    assert {"a": READY, "b": READY} == story.states


def test_fault_58_a_server_that_flaps_each_second_keeps_its_state() -> None:
    """Neither count is ever reached."""
    story = Story(A, B)
    for _ in range(100):
        story.down(B)
        story.up(B)
        assert {"a": READY, "b": READY} == story.states


def test_fault_59_when_every_probe_fails_nothing_changes() -> None:
    """It is more likely us than all of them."""
    story = Story(A, B, C)
    for _ in range(10):
        story.down(A, B, C)
    assert {"a": READY, "b": READY, "c": READY} == story.states
    assert panicking(story.members, RULES)


def test_what_was_failing_before_all_probes_fail_stays_failing() -> None:
    """Nothing changes, in either direction."""
    story = Story(A, B, C)
    story.dead(C)
    story.dead(A, B)
    assert {"a": READY, "b": READY, "c": FAILING} == story.states


def test_the_first_answer_ends_the_panic() -> None:
    """Who still fails falls at once: its failures are in a row already."""
    story = Story(A, B, C)
    story.dead(A, B, C)
    story.up(B)
    assert {"a": FAILING, "b": READY, "c": FAILING} == story.states
    assert not panicking(story.members, RULES)


def test_a_single_success_of_a_failing_server_ends_no_panic() -> None:
    """Else the last ready server would fall for one that is not ready."""
    story = Story(A, B)
    story.dead(B)
    story.dead(A)
    story.up(B)
    assert {"a": READY, "b": FAILING} == story.states
    story.up(B)
    assert {"a": FAILING, "b": READY} == story.states


def test_with_no_server_ever_alive_all_are_failing() -> None:
    """A cold start against dead servers publishes them, and waits."""
    story = Story()
    story.lists(A, B)
    story.dead(A, B)
    assert {"a": FAILING, "b": FAILING} == story.states
    assert not panicking(story.members, RULES)


def test_fault_18_an_empty_list_changes_nothing() -> None:
    """An empty answer is more likely a missing permission."""
    story = Story(A, B)
    story.lists()
    assert {"a": READY, "b": READY} == story.states


def test_an_empty_pool_stays_empty_on_an_empty_list() -> None:
    """There is nothing to keep yet."""
    story = Story()
    story.lists()
    assert {} == story.states


def test_fault_03_a_server_that_left_drains() -> None:
    """New connects avoid it, though it still answers."""
    story = Story(A, B)
    story.lists(A)
    story.up(B)
    assert {"a": READY, "b": DRAINING} == story.states


def test_a_drained_server_is_forgotten_once_it_no_longer_answers() -> None:
    """It has gone, as it said it would; for a moment it is shown to be dead."""
    story = Story(A, B)
    story.lists(A)
    story.down(B, B)
    assert {"a": READY, "b": DRAINING} == story.states
    story.down(B)
    assert {"a": READY, "b": FAILING} == story.states
    assert {"b"} == story.proven_dead
    story.now += RULES.dead_keep
    story.up(A)
    assert {"a": READY} == story.states
    assert {"a"} == story.members.keys()


def test_a_drained_server_is_forgotten_after_a_while() -> None:
    """It answers, but is no longer ours to know."""
    story = Story(A, B)
    story.lists(A)
    story.now += RULES.drain_keep - 1
    story.up(A)
    assert {"a": READY, "b": DRAINING} == story.states
    story.now += 1
    story.up(A)
    assert {"a": READY} == story.states


def test_a_drained_server_listed_again_is_back_at_once() -> None:
    """Nothing said it was unwell."""
    story = Story(A, B)
    story.lists(A)
    story.lists(A, B)
    assert {"a": READY, "b": READY} == story.states


def test_fault_13_a_server_does_not_drain_while_no_listed_one_is_ready() -> None:
    """All addresses are replaced, and the new ones do not answer yet."""
    story = Story(A, B)
    story.lists(C, D)
    story.now += 1e6
    story.down(C, D)
    assert {"a": READY, "b": READY, "c": FAILING, "d": FAILING} == story.states
    story.up(C, C)
    assert {"c": READY, "d": FAILING} == story.states


def test_fault_20_servers_that_leave_in_a_crowd_stay_ready_for_a_grace() -> None:
    """5 -> 1 in one step is more likely a wrong list than a right one."""
    story = Story(A, B, C, D, E)
    story.lists(A)
    assert dict.fromkeys("abcde", READY) == story.states
    story.now += RULES.shrink_grace - 0.1
    assert dict.fromkeys("abcde", READY) == story.states
    story.now += 0.1
    assert {"a": READY} | dict.fromkeys("bcde", DRAINING) == story.states


def test_one_of_a_crowd_that_left_goes_when_its_probes_fail() -> None:
    """The list said it first."""
    story = Story(A, B, C, D, E)
    story.lists(A)
    story.dead(B)
    assert {**dict.fromkeys("acde", READY), "b": FAILING} == story.states


def test_a_wrong_list_put_right_within_the_grace_costs_nothing() -> None:
    """Nobody ever drained."""
    story = Story(A, B, C, D, E)
    story.lists(A)
    story.lists(A, B, C, D, E)
    story.now += RULES.shrink_grace
    assert dict.fromkeys("abcde", READY) == story.states


def test_a_draining_server_takes_over_when_the_last_listed_one_dies() -> None:
    """One that answers is better than one that does not."""
    story = Story(A, B)
    story.lists(A)
    story.up(B)
    story.dead(A)
    assert {"a": FAILING, "b": READY} == story.states


def test_a_server_that_moves_keeps_its_state_until_probed() -> None:
    """The new address is the truth now; verdicts on the old one are dropped."""
    story = Story(A, B)
    moved = replace(B, ipv4=IPv4Address("10.0.1.2"))
    story.lists(A, moved)
    story.dead(B)
    assert {"a": READY, "b": READY} == story.states
    assert moved == story.members["b"].server
    story.dead(moved)
    assert {"a": READY, "b": FAILING} == story.states


def test_a_new_version_of_a_server_is_no_move() -> None:
    """Its failures so far count."""
    story = Story(A, B)
    story.down(B, B)
    story.lists(A, replace(B, version="1.23"))
    story.down(B)
    assert {"a": READY, "b": FAILING} == story.states


def test_a_verdict_on_a_stranger_is_dropped() -> None:
    """The probe was under way when the server was forgotten."""
    story = Story(A)
    story.up(B)
    assert {"a": READY} == story.states


def test_a_full_list_leaves_no_room_for_those_that_left() -> None:
    """The kernel's table has its size; the ready come first."""
    crowd = [
        replace(Server.at(f"10.1.0.{i}", 1), id=f"n{i:02}") for i in range(MAX_SERVERS)
    ]
    story = Story(A)
    story.lists(*crowd)
    story.up(*crowd)
    story.now += RULES.shrink_grace
    assert {s.id: READY for s in crowd} == story.states


def test_a_server_is_dead_by_failures_in_a_row_while_another_answers() -> None:
    """Not by the first one, though a new server is failing by that."""
    story = Story(A)
    story.lists(A, B)
    story.down(B, B)
    assert {"a": READY, "b": FAILING} == story.states
    assert set() == story.proven_dead
    story.down(B)
    assert {"b"} == story.proven_dead
    story.up(B)
    assert set() == story.proven_dead


def test_fault_59_nobody_is_dead_while_nobody_answers() -> None:
    """Not even who was proven dead before: now it may be us."""
    story = Story(A, B)
    story.dead(B)
    assert {"b"} == story.proven_dead
    story.down(A)
    assert set() == story.proven_dead
    story.up(A)
    assert {"b"} == story.proven_dead


def test_known_servers_are_there_before_any_list() -> None:
    """In the states they were known in; a list that names them changes nothing."""
    story = Story()
    story.members = of_known(
        [PooledServer(A, READY), PooledServer(B, FAILING), PooledServer(C, DRAINING)]
    )
    assert {"a": READY, "b": FAILING, "c": READY} == story.states
    story.dead(A)
    assert {"a": READY, "b": FAILING, "c": READY} == story.states  # nobody answers
    story.up(C)
    assert {"a": FAILING, "b": FAILING, "c": READY} == story.states


def test_fault_14_known_servers_all_dead_give_way_to_the_list() -> None:
    """As soon as one of the new ones answers."""
    story = Story()
    story.members = of_known([PooledServer(A, READY), PooledServer(B, READY)])
    story.dead(A, B)
    assert {"a": READY, "b": READY} == story.states
    story.lists(C, D)
    story.up(C)
    assert READY == story.states["c"]
    assert READY not in {story.states.get("a"), story.states.get("b")}


def test_a_server_with_a_new_id_at_its_endpoint_is_the_same() -> None:
    """The kernel knows no ids, and a server rebuilt in its place has another."""
    nameless = replace(A, id="slot 0")
    story = Story()
    story.members = of_known([PooledServer(nameless, READY), PooledServer(B, READY)])
    story.lists(A, B)
    assert {"a": READY, "b": READY} == story.states
    story.lists(replace(A, id="rebuilt"), B)
    assert {"rebuilt": READY, "b": READY} == story.states


def test_two_ids_are_never_at_one_endpoint() -> None:
    """Found by the hunt: known without an id, moved away, and back at the old place."""
    story = Story()
    story.members = of_known([PooledServer(replace(A, id="slot 0"), READY)])
    story.lists(replace(A, ipv4=IPv4Address("10.9.9.9")), B)
    story.up(B)
    story.lists(A, B)
    assert {"a": READY, "b": READY} == story.states


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
