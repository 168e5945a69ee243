import time
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_address
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.values import Proxy, Vip
from consul_ebpf.proxies.vips import (
    MAX_RELEASED,
    Allocation,
    ProxyKey,
    VipRange,
    allocate,
    key_of,
)

NETWORK = IPv4Network("127.64.0.0/10")
SMALL = IPv4Network("127.64.0.0/29")  # six VIPs
PORT = 8502


def proxy(id_: str, vip: str | None = None, owner: str = "configuration") -> Proxy:
    return Proxy(id_, "node", vip=ip_address(vip) if vip else None, owner=owner)


def place(
    *proxies: Proxy,
    after: Mapping[ProxyKey, Vip] | None = None,
    network: IPv4Network = NETWORK,
) -> Allocation:
    return allocate(proxies, after or {}, VipRange(network, PORT))


def vips(allocation: Allocation) -> dict[str, str]:
    return {each.proxy.id: each.vip.literal for each in allocation.placed}


def test_lowest_first() -> None:
    """Without memory proxies get the lowest host addresses, in order."""
    allocation = place(proxy("b"), proxy("a"))
    assert vips(allocation) == {"b": "127.64.0.1", "a": "127.64.0.2"}
    assert {each.vip.port for each in allocation.placed} == {PORT}


def test_given_before_allocated() -> None:
    """A VIP asked for is not allocated to somebody earlier in the list."""
    allocation = place(proxy("a"), proxy("b", "127.64.0.1"))
    assert vips(allocation) == {"a": "127.64.0.2", "b": "127.64.0.1"}


def test_mapped() -> None:
    """An IPv4-mapped VIP is the same VIP, written as IPv6."""
    allocation = place(proxy("a", "::ffff:127.64.0.1"), proxy("b", "127.64.0.1"))
    assert vips(allocation) == {"a": "::ffff:127.64.0.1"}
    assert [each.id for each, _ in allocation.refused] == ["b"]


def test_duplicate_vip_names_both_owners() -> None:
    """Of two that ask for one VIP the first gets it; the reason names both."""
    allocation = place(
        proxy("a", "127.64.0.9", "a.toml"), proxy("b", "127.64.0.9", "b.toml")
    )
    assert vips(allocation) == {"a": "127.64.0.9"}
    ((loser, why),) = allocation.refused
    assert loser.id == "b"
    assert why == (
        "proxy 'b' (b.toml): refused, VIP 127.64.0.9 is that of"
        " proxy 'a' (a.toml); give it another"
    )


def test_duplicate_id_names_both_owners() -> None:
    """Of two proxies with one id the first is placed, even if they are equal."""
    allocation = place(proxy("a", owner="x"), proxy("a", owner="y"), proxy("b"))
    assert set(vips(allocation)) == {"a", "b"}
    assert [why for _, why in allocation.refused] == [
        "proxy 'a' (y): refused, proxy 'a' (x) has this id"
    ]
    twin = proxy("a")
    assert len(place(twin, twin).placed) == 1


def test_holder_beats_newcomer() -> None:
    """Who has a VIP keeps it when a newcomer, earlier in the list, asks for it."""
    before = place(proxy("a"))
    after = place(proxy("b", "127.64.0.1"), proxy("a"), after=before.remembered)
    assert vips(after) == {"a": "127.64.0.1"}
    assert "is that of proxy 'a'" in after.refused[0][1]


def test_newcomer_may_ask_for_a_released_one() -> None:
    """A VIP of a proxy that is gone may be asked for; that one then gets another."""
    one = place(proxy("a"))
    two = place(proxy("b", "127.64.0.1"), after=one.remembered)
    assert vips(two) == {"b": "127.64.0.1"}
    three = place(
        proxy("a"), proxy("b", "127.64.0.1"), after=two.remembered, network=NETWORK
    )
    assert vips(three) == {"a": "127.64.0.2", "b": "127.64.0.1"}


def test_asking_for_another_moves() -> None:
    """A proxy that asks for another VIP than it has gets that one."""
    before = place(proxy("a"))
    after = place(proxy("a", "127.64.0.7"), after=before.remembered)
    assert vips(after) == {"a": "127.64.0.7"}


def test_return() -> None:
    """A proxy that comes back gets its own VIP again."""
    one = place(proxy("a"), proxy("b"), proxy("c"))
    two = place(proxy("a"), proxy("c"), after=one.remembered)
    three = place(proxy("a"), proxy("d"), proxy("c"), after=two.remembered)
    four = place(proxy("b"), proxy("d"), after=three.remembered)
    assert vips(one)["b"] == vips(four)["b"]
    assert vips(three)["d"] == "127.64.0.4"


def test_longest_released_is_given_first() -> None:
    """Only when no other is left is a released VIP given, the longest released one."""
    full = [proxy(f"p{i}") for i in range(6)]
    one = place(*full, network=SMALL)
    without_4 = [each for each in full if each.id != "p4"]
    two = place(*without_4, after=one.remembered, network=SMALL)
    without_both = [each for each in without_4 if each.id != "p1"]
    three = place(*without_both, after=two.remembered, network=SMALL)
    four = place(*without_both, proxy("new"), after=three.remembered, network=SMALL)
    assert vips(four)["new"] == vips(one)["p4"]
    assert key_of(full[1]) in four.remembered
    assert key_of(full[4]) not in four.remembered


def test_exhausted() -> None:
    """With no VIP left the last ones are refused, with what to do."""
    allocation = place(*(proxy(f"p{i}") for i in range(7)), network=SMALL)
    assert len(allocation.placed) == 6
    ((loser, why),) = allocation.refused
    assert loser.id == "p6"
    assert why.endswith("refused, no VIP is left; widen kernel.vip_cidr")


def test_impossible_vips() -> None:
    """VIPs outside the range, of no host or not IPv4 are refused, others unaffected."""
    bad = ["127.64.0.0", "127.64.0.7", "10.0.0.1", "::1", "::ffff:10.0.0.1"]
    asking = [proxy(f"p{i}", vip) for i, vip in enumerate(bad)]
    allocation = place(*asking, proxy("good"), network=SMALL)
    assert set(vips(allocation)) == {"good"}
    assert len(allocation.refused) == len(bad)
    for (_, why), vip in zip(allocation.refused, bad, strict=True):
        assert f"VIP {ip_address(vip)} " in why


def test_impossible_proxies() -> None:
    """A proxy from any source is held to the rules for names."""
    allocation = place(proxy("../etc"), proxy("good"))
    assert set(vips(allocation)) == {"good"}
    assert "'../etc'" in allocation.refused[0][1]


def test_other_range() -> None:
    """After a change of range or port nobody keeps what no longer is a VIP."""
    before = place(proxy("a"))
    other = IPv4Network("127.80.0.0/16")
    after = allocate([proxy("a")], before.remembered, VipRange(other, 99))
    assert after.placed[0].vip == Vip(IPv4Address("127.80.0.1"), 99)


DNS = IPv4Address("127.64.0.2")


def test_fault_151_a_reserved_address_is_given_to_nobody() -> None:
    """Neither allocated, nor to who asks for it; the reason names what has it."""
    asking = [proxy("a"), proxy("asks", str(DNS)), proxy("b")]
    allocation = allocate(asking, {}, VipRange(SMALL, PORT, {DNS: "dns.vip"}))
    assert {"a": "127.64.0.1", "b": "127.64.0.3"} == vips(allocation)
    ((_, why),) = allocation.refused
    assert why == (
        "proxy 'asks' (configuration): refused, VIP 127.64.0.2 is that of dns.vip;"
        " give it another"
    )


def test_fault_151_who_has_a_reserved_address_keeps_it() -> None:
    """It was reserved later; once released it is given to nobody else."""
    before = place(proxy("a"), proxy("b"), network=SMALL)
    both = [proxy("a"), proxy("b", str(DNS))]
    after = allocate(both, before.remembered, VipRange(SMALL, PORT, {DNS: "dns.vip"}))
    assert {"a": "127.64.0.1", "b": str(DNS)} == vips(after)
    gone = allocate([], after.remembered, VipRange(SMALL, PORT, {DNS: "dns.vip"}))
    many = [proxy(f"p{i}") for i in range(6)]
    full = allocate(many, gone.remembered, VipRange(SMALL, PORT, {DNS: "dns.vip"}))
    assert 5 == len(full.placed)
    assert str(DNS) not in vips(full).values()


def test_memory_is_bounded() -> None:
    """Of proxies that are gone only the newest are remembered."""
    remembered: Mapping[ProxyKey, Vip] = {}
    many = [proxy(f"p{i}") for i in range(MAX_RELEASED + 10)]
    one = place(*many, after=remembered)
    two = place(proxy("other"), after=one.remembered)
    assert len(two.remembered) == MAX_RELEASED + 1
    assert key_of(many[9]) not in two.remembered
    assert key_of(many[10]) in two.remembered


def test_large() -> None:
    """65,536 proxies are placed in well under a second, fresh and again."""
    many = [proxy(f"proxy-{i}-sidecar-proxy") for i in range(65536)]
    begun = time.process_time()
    one = place(*many)
    two = place(*many, after=one.remembered)
    assert time.process_time() - begun < 4
    assert len(two.placed) == 65536
    assert one.placed == two.placed


IDS = st.sampled_from([f"p{i}" for i in range(12)])
ASKED = st.none() | st.sampled_from([str(each) for each in SMALL])
LISTS = st.lists(st.builds(proxy, IDS, ASKED), max_size=10)


@given(st.lists(LISTS, min_size=1, max_size=6))
def test_rules_hold_through_any_history(history: list[list[Proxy]]) -> None:
    """No VIP has two owners, everybody is placed or refused, and nobody is moved."""
    steps = []
    remembered: Mapping[ProxyKey, Vip] = {}
    for proxies in history:
        step = allocate(proxies, remembered, VipRange(SMALL, PORT))
        remembered = step.remembered
        steps.append((proxies, step))
        given_vips = [each.vip for each in step.placed]
        assert len(given_vips) == len(set(given_vips))
        assert len(proxies) == len(step.placed) + len(step.refused)
        for each in step.placed:
            assert each.vip.address in set(SMALL.hosts())
            asked = each.proxy.vip
            assert asked is None or asked == each.vip.address
            assert remembered[key_of(each.proxy)] == each.vip
        assert len(remembered) == len(set(remembered.values()))
    for (_, before), (_, after) in pairwise(steps):
        held = {each.proxy.id: each.vip for each in before.placed}
        for each in after.placed:
            if each.proxy.vip is None and each.proxy.id in held:
                assert held[each.proxy.id] == each.vip


def test_who_has_a_key_keeps_its_vip_when_its_id_comes() -> None:
    """What Consul says of it, its namespace too, may come later and change."""
    late = Proxy(id="", node="", key="pod-1")
    before = place(proxy("a"), late)
    named = Proxy(id="web", node="node", namespace="team", key="pod-1")
    after = place(named, proxy("a"), after=before.remembered)
    assert {each.proxy.key: each.vip for each in after.placed} == {
        each.proxy.key: each.vip for each in before.placed
    }


def test_one_id_may_be_two_proxies_one_key_may_not() -> None:
    """A pod that is replaced has its successor's id for a while, and not its key."""
    one, two = (Proxy(id="web", node="node", key=key) for key in ("pod-1", "pod-2"))
    assert len(place(one, two).placed) == 2
    assert [each.key for each, _ in place(one, two, replace(one, id="x")).refused] == [
        "pod-1"
    ]
