"""The rules of membership for servers that a list no longer names, or names anew."""

from dataclasses import replace

from consul_ebpf.model.values import MAX_SERVERS, PooledServer, Server
from consul_ebpf.servers.members import of_known
from tests.lab.story import DRAINING, FAILING, READY, RULES, A, B, C, D, E, Story


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
