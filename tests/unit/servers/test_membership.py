"""The membership rules, one by one and then all at once."""

from dataclasses import replace
from ipaddress import IPv4Address

from consul_ebpf.model.values import PooledServer
from consul_ebpf.servers.members import of_known, untested
from consul_ebpf.servers.membership import panicking
from tests.lab.story import DRAINING, FAILING, READY, RULES, A, B, C, Story


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
    assert {"a", "b", "c"} == story.silent


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
    assert not story.silent


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
