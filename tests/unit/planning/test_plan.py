"""The rules of the plan, each over generated hosts and histories."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consul_ebpf.model.values import (
    MAX_CHOICES,
    Preference,
    Server,
    ServerState,
    SlottedServer,
    Vip,
)
from consul_ebpf.planning.plan import plan
from tests.lab.long import LONG

READY, FAILING, DRAINING = ServerState.READY, ServerState.FAILING, ServerState.DRAINING

Servers = dict[int, SlottedServer]
Plan = Mapping[Vip, Preference]


def vip(number: int) -> Vip:
    return Vip(IPv4Address("127.64.0.1") + number, 8502)


def vips(count: int) -> list[Vip]:
    return [vip(number) for number in range(count)]


def server(slot: int, state: ServerState = READY) -> SlottedServer:
    return SlottedServer(slot, Server.at(f"10.0.0.{slot + 1}", 8502), state)


def table(slots: Iterable[int], state: ServerState = READY) -> Servers:
    return {slot: server(slot, state) for slot in slots}


def spread(loads: Iterable[int]) -> int:
    """How far the busiest is above the idlest."""
    counts = list(loads)
    return max(counts) - min(counts)


def first_choices(preferences: Iterable[Preference], slots: Iterable[int]) -> list[int]:
    """Count each slot's proxies, a slot without any too."""
    found = Counter(preference[0] for preference in preferences if preference)
    return [found[slot] for slot in slots]


def check_even(planned: Plan, slots: set[int]) -> None:
    assert spread(first_choices(planned.values(), slots)) <= 1
    for gone in slots if len(slots) > 1 else ():
        left = [tuple(s for s in each if s != gone) for each in planned.values()]
        assert spread(first_choices(left, slots - {gone})) <= 1


def firsts_to_keep(last: Plan, now: Iterable[Vip], slots: set[int]) -> int:
    """Most first choices that an even plan over `slots` can leave as they are."""
    now = list(now)
    held = Counter(last[v][0] for v in now if last.get(v) and last[v][0] in slots)
    share, extra = divmod(len(now), len(slots))
    above = sum(held[slot] > share for slot in slots)
    return sum(min(held[slot], share) for slot in slots) + min(extra, above)


def kept_firsts(before: Plan, after: Plan) -> int:
    return sum(before[v][:1] == after[v][:1] != () for v in after if v in before)


SLOTS = st.sets(st.integers(0, 254), min_size=1, max_size=12)
COUNT = st.integers(0, 60)
SEED = st.text(max_size=8)


@given(COUNT, SLOTS, SEED)
def test_first_choices_are_even_and_stay_so_without_any_one_server(
    count: int, slots: set[int], seed: str
) -> None:
    """Rule 1: they differ by at most one."""
    check_even(plan(vips(count), table(slots), {}, seed), slots)


@given(COUNT, SLOTS, SEED, st.data())
def test_a_preference_is_well_formed(
    count: int, slots: set[int], seed: str, data: st.DataObject
) -> None:
    """Rule 4: only known slots that do not drain, none twice, at most 8, one ready."""
    states = {slot: data.draw(st.sampled_from(ServerState)) for slot in sorted(slots)}
    servers = {slot: server(slot, state) for slot, state in states.items()}
    last = plan(vips(count), table(slots), {}, seed)
    usable = {slot for slot, state in states.items() if state is not DRAINING}
    ready = {slot for slot, state in states.items() if state is READY}
    planned = plan(vips(count), servers, last, seed)
    assert set(vips(count)) == set(planned)
    for preference in planned.values():
        assert min(len(usable), MAX_CHOICES) == len(preference)
        assert len(preference) == len(set(preference))
        assert usable.issuperset(preference)
        assert not ready or ready.intersection(preference)


def test_the_only_ready_server_is_in_each_preference_of_a_large_pool() -> None:
    """Rule 4 where most servers are in no preference by rank."""
    servers = {**table(range(64), FAILING), 63: server(63)}
    planned = plan(vips(300), servers, {}, "host")
    assert all(63 in preference for preference in planned.values())


def test_without_a_usable_server_preferences_are_empty() -> None:
    """None at all, or all draining: the kernel refuses what has no preference."""
    assert {vip(0): ()} == plan(vips(1), {}, {vip(0): (3, 4)}, "host")
    assert {vip(0): ()} == plan(vips(1), table([3], DRAINING), {vip(0): (3,)}, "host")


@given(COUNT, SLOTS, SEED)
def test_a_plan_fed_back_is_a_fixed_point(
    count: int, slots: set[int], seed: str
) -> None:
    """Rule 2: where nothing changed, nothing changes."""
    planned = plan(vips(count), table(slots), {}, seed)
    assert planned == plan(vips(count), table(slots), planned, seed)


@given(COUNT, SLOTS, SEED)
def test_the_order_of_inputs_does_not_matter(
    count: int, slots: set[int], seed: str
) -> None:
    """Rule 2: a source may list in any order, with repetitions."""
    forwards = plan(vips(count), table(sorted(slots)), {}, seed)
    backwards = plan(
        [*reversed(vips(count)), *vips(count)],
        table(sorted(slots, reverse=True)),
        {},
        seed,
    )
    assert forwards == backwards


@given(COUNT, SLOTS.filter(lambda slots: len(slots) > 1), SEED, st.booleans())
def test_who_loses_a_server_gets_the_old_second_choice_first(
    count: int, slots: set[int], seed: str, draining: bool
) -> None:
    """Rule 2: where the kernel has already taken them; nobody else's first moves."""
    before = plan(vips(count), table(slots), {}, seed)
    gone = min(slots)
    servers = table(slots - {gone})
    if draining:
        servers[gone] = server(gone, DRAINING)
    after = plan(vips(count), servers, before, seed)
    for each, preference in before.items():
        left = tuple(slot for slot in preference if slot != gone)
        assert left[0] == after[each][0]


@given(COUNT, SLOTS, SEED)
def test_a_new_server_takes_no_more_than_its_share(
    count: int, slots: set[int], seed: str
) -> None:
    """Rule 2: who moves, moves to it."""
    new = min(set(range(255)) - slots)
    before = plan(vips(count), table(slots), {}, seed)
    after = plan(vips(count), table({*slots, new}), before, seed)
    moved = [each for each in after if after[each][0] != before[each][0]]
    assert {new}.issuperset(after[each][0] for each in moved)
    assert count // (len(slots) + 1) >= len(moved)


@given(COUNT, SLOTS, SEED, st.data())
def test_a_failing_server_changes_no_preference(
    count: int, slots: set[int], seed: str, data: st.DataObject
) -> None:
    """Rule 5, but for preferences that would be left without a ready server."""
    failing = data.draw(st.sets(st.sampled_from(sorted(slots))))
    before = plan(vips(count), table(slots), {}, seed)
    servers = {**table(slots), **table(failing, FAILING)}
    after = plan(vips(count), servers, before, seed)
    for each, preference in before.items():
        if failing.issuperset(preference):
            assert preference[:-1] == after[each][:-1]
        else:
            assert preference == after[each]


def test_hosts_spread_their_odd_proxy_over_the_servers() -> None:
    """Rule 3: hundreds of hosts of one proxy each load three servers alike."""
    hosts = [f"host-{number}" for number in range(600)]
    loads = Counter(plan(vips(1), table(range(3)), {}, host)[vip(0)] for host in hosts)
    assert 6 == len(loads)  # every order of the three
    assert all(60 < load < 140 for load in loads.values())


def test_hosts_differ_in_who_is_where() -> None:
    """Rule 3: with the same proxies and servers."""
    plans = [plan(vips(6), table(range(3)), {}, f"host-{n}") for n in range(50)]
    assert len({tuple(sorted(each.items())) for each in plans}) > 40


def test_an_odd_proxy_stays_when_the_count_becomes_even_and_odd_again() -> None:
    """Rule 2 where a naive tie between servers would move it."""
    servers = table(range(3))
    before = plan(vips(4), servers, {}, "host")
    after = plan(vips(5), servers, before, "host")
    assert all(before[each][0] == after[each][0] for each in before)
    again = plan(vips(4), servers, after, "host")
    assert 4 - kept_firsts(after, again) <= 1


def test_holders_go_before_those_that_come() -> None:
    """A server goes while proxies go too: no one's first choice moves but must."""
    last = {
        # Two hold slot 0, one each holds 1 and 2, with 0 as their second choice.
        **dict.fromkeys(vips(2), (0, 1, 2)),
        **dict.fromkeys(vips(4)[2:], (2, 0, 1)),
    }
    for seed in map(str, range(20)):  # whatever the order of their hashes
        after = plan(vips(4), table([0, 1]), last, seed)
        assert [(0,), (0,)] == [after[each][:1] for each in vips(2)]
        check_even(after, {0, 1})


class Histories(RuleBasedStateMachine):
    """Servers and proxies come and go; each plan is made from the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[int, ServerState] = {0: READY}
        self.vips: set[Vip] = set()
        self.planned: Plan = {}
        self.seed = ""

    def replan(self) -> None:
        before = self.planned
        servers = {slot: server(slot, state) for slot, state in self.states.items()}
        self.planned = plan(self.vips, servers, before, self.seed)
        if usable := self.usable():
            most = firsts_to_keep(before, self.vips, usable)
            assert most == kept_firsts(before, self.planned)

    def usable(self) -> set[int]:
        return {slot for slot, state in self.states.items() if state is not DRAINING}

    @rule(seed=SEED)
    def another_host(self, seed: str) -> None:
        self.seed = seed
        self.planned = {}
        self.replan()

    @rule(slot=st.integers(0, 15), state=st.sampled_from(ServerState))
    def server_comes_or_changes(self, slot: int, state: ServerState) -> None:
        self.states[slot] = state
        self.replan()

    @rule(slots=st.sets(st.integers(0, 15), max_size=4))
    def servers_go(self, slots: set[int]) -> None:
        for slot in slots:
            self.states.pop(slot, None)
        self.replan()

    @rule(numbers=st.sets(st.integers(0, 40), min_size=1, max_size=25))
    def proxies_come(self, numbers: set[int]) -> None:
        self.vips |= {vip(number) for number in numbers}
        self.replan()

    @rule(numbers=st.sets(st.integers(0, 40), min_size=1, max_size=25))
    def proxies_go(self, numbers: set[int]) -> None:
        self.vips -= {vip(number) for number in numbers}
        self.replan()

    @rule(data=st.data())
    def all_proxies_of_a_server_go(self, data: st.DataObject) -> None:
        slot = data.draw(st.integers(0, 15))
        self.vips = {v for v in self.vips if self.planned[v][:1] != (slot,)}
        self.replan()

    @rule(numbers=st.sets(st.integers(0, 40), max_size=25), slot=st.integers(0, 15))
    def proxies_and_a_server_change_places(self, numbers: set[int], slot: int) -> None:
        self.vips ^= {vip(number) for number in numbers}
        if self.states.pop(slot, None) is None:
            self.states[slot] = READY
        self.replan()

    @invariant()
    def it_is_even(self) -> None:
        if usable := self.usable():
            check_even(self.planned, usable)
        assert self.vips == set(self.planned)

    @invariant()
    def it_is_settled(self) -> None:
        servers = {slot: server(slot, state) for slot, state in self.states.items()}
        again = plan(self.vips, servers, self.planned, self.seed)
        assert again == self.planned


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=100 if LONG else 15, stateful_step_count=20
)


@pytest.mark.parametrize("fed_back", [False, True], ids=["fresh", "fed back"])
def test_planning_a_full_table_costs_a_few_hashes_a_proxy(fed_back: bool) -> None:
    """As much as eight hashes each, taken just now; 64 servers."""
    everyone, servers = vips(65536 if LONG else 8192), table(range(64))
    last = plan(everyone, servers, {}, "host") if fed_back else {}

    def seconds_to_hash() -> float:
        begun = time.process_time()
        for each in everyone:
            for part in b"abcdefgh":
                blake2b(each.packed, key=bytes([part]), digest_size=8).digest()
        return time.process_time() - begun

    def seconds_to_plan() -> float:
        begun = time.process_time()
        plan(everyone, servers, last, "host")
        return time.process_time() - begun

    pairs = [(seconds_to_plan(), seconds_to_hash()) for _ in range(2)]
    assert min(planned / hashed for planned, hashed in pairs) < 4
