"""Who gets which admin address."""

import time
from dataclasses import replace
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.values import Proxy, ProxyFiles
from consul_ebpf.proxies.admins import Address, Admin, Told, tell_apart

DEFAULT = ("127.0.0.1", 19000)


def proxies(ids: str, netns: str = "") -> list[Proxy]:
    return [Proxy(each, "n", owner="catalog node n", netns=netns) for each in ids]


def ports(told: Told) -> dict[str, int]:
    return {
        proxy.id: proxy.admin[1]
        for proxy in told.proxies
        if proxy.admin and not proxy.conflict
    }


def test_fault_89_proxies_of_one_namespace_are_told_apart() -> None:
    """A port each, the configured one first; the same ones the next time."""
    told = tell_apart(proxies("abc"), {}, DEFAULT)
    assert ports(told) == {"a": 19000, "b": 19001, "c": 19002}
    again = tell_apart(proxies("cb"), told.remembered, DEFAULT)
    assert ports(again) == {"c": 19002, "b": 19001}
    more = tell_apart(proxies("xcb"), again.remembered, DEFAULT)
    assert ports(more) == {"x": 19000, "c": 19002, "b": 19001}


def test_a_namespace_of_its_own_has_the_configured_one() -> None:
    """Two in one namespace are told apart there."""
    pods = [
        *proxies("a", netns="/run/netns/a"),
        *proxies("b", netns="/run/netns/b"),
        *proxies("c", netns="/run/netns/b"),
        *proxies("d"),
    ]
    told = tell_apart(pods, {}, DEFAULT, is_busy=lambda at: at[1] == 19001)
    assert ports(told) == {"a": 19000, "b": 19000, "c": 19001, "d": 19000}


def test_pods_of_which_only_the_cgroup_is_known_have_the_same_one() -> None:
    """Of two in one pod one waits; a cgroup alone may be on the host's network."""
    asks = [replace(each, admin=DEFAULT) for each in proxies("abcde")]
    own = ProxyFiles("/volume")
    pods = [replace(each, files=own, cgroup=f"/pod-{each.id}") for each in asks[:2]]
    beside = replace(asks[2], files=own, cgroup="/pod-b")
    host = [replace(each, cgroup=f"/pod-{each.id}") for each in asks[3:]]
    told = tell_apart([*pods, beside, *host], {}, DEFAULT)
    assert ports(told) == {"a": 19000, "b": 19000, "d": 19000}
    again = tell_apart([beside, *pods], told.remembered, DEFAULT)
    assert ports(again) == {"a": 19000, "b": 19000}


def test_what_was_asked_for_wins() -> None:
    """By the entry, or by the settings; the ports given away make room."""
    first = tell_apart(proxies("abc"), {}, DEFAULT)
    own = [replace(proxies("d")[0], admin=("127.0.0.1", 19001)), *proxies("abce")]
    settings = {"c": ("127.0.0.1", 19007), "d": ("127.0.0.1", 1)}
    told = tell_apart(own, first.remembered, DEFAULT, settings=settings)
    assert ports(told) == {"d": 19001, "a": 19000, "b": 19002, "c": 19007, "e": 19003}
    assert [each.id for each in told.proxies] == list("dabce")


def test_fault_89_two_that_ask_for_one_address() -> None:
    """The later waits, with a reason that names the other; who had it keeps it."""
    at = ("0.0.0.0", 19000)
    a, b = (replace(each, admin=at) for each in proxies("ab"))
    told = tell_apart([a, b], {}, DEFAULT)
    assert ports(told) == {"a": 19000}
    assert told.proxies[1].conflict == (
        "Envoy's admin address 0.0.0.0:19000 is that of proxy 'a' (catalog node n), in"
        " the same network namespace; set another (admin), or its netns"
    )
    assert told.remembered == {"a": Admin(at)}
    b = replace(b, admin=DEFAULT)
    assert ports(tell_apart([b], {}, DEFAULT)) == {"b": 19000}
    told = tell_apart([a, b], {"b": Admin(DEFAULT)}, DEFAULT)
    assert ports(told) == {"b": 19000}
    assert ports(tell_apart([a], told.remembered, DEFAULT)) == {"a": 19000}


def test_a_port_somebody_else_listens_on_is_passed_over() -> None:
    """But for the first of all: its own Envoy may be there already."""
    busy = {19000, 19001}
    told = tell_apart(proxies("ab"), {}, DEFAULT, is_busy=lambda at: at[1] in busy)
    assert ports(told) == {"a": 19000, "b": 19002}
    told = tell_apart(
        proxies("bc"), told.remembered, DEFAULT, is_busy=lambda at: at[1] in busy
    )
    assert ports(told) == {"b": 19002, "c": 19003}


def test_ready_listeners_and_a_changed_default() -> None:
    """No port of /ready is given away; another default moves those that have none."""
    a, b = proxies("ab")
    a = replace(a, ready=("127.0.0.1", 19001))
    told = tell_apart([a, b], {}, DEFAULT)
    assert ports(told) == {"a": 19000, "b": 19002}
    told = tell_apart([a, b], told.remembered, ("127.0.0.1", 19002))
    assert ports(told) == {"a": 19003, "b": 19002}
    told = tell_apart([a, b], told.remembered, ("::1", 19002))
    assert ports(told) == {"a": 19002, "b": 19003}


def test_fault_89_who_is_not_named_now_keeps_his_port() -> None:
    """While a source cannot tell, ports of proxies that may still run are not given."""
    first = tell_apart(proxies("ab"), {}, DEFAULT)
    told = tell_apart(proxies("bc"), first.remembered, DEFAULT, keep=True)
    assert ports(told) == {"b": 19001, "c": 19002}
    assert ports(tell_apart(proxies("abc"), told.remembered, DEFAULT)) == {
        "a": 19000,
        "b": 19001,
        "c": 19002,
    }


def test_no_port_left() -> None:
    """Whoever gets none waits."""
    told = tell_apart(proxies("ab"), {}, ("127.0.0.1", 65535))
    assert ports(told) == {"a": 65535}
    assert "is taken, and all ports after it" in told.proxies[1].conflict


def test_thousands_cost_little() -> None:
    """In one namespace, and in one each; again, with all of it remembered."""
    shared = [Proxy(f"a-{n}", "n") for n in range(5000)]
    own = [Proxy(f"b-{n}", "n", netns=f"/run/netns/{n}") for n in range(5000)]
    begun = time.process_time()
    told = tell_apart([*shared, *own], {}, DEFAULT)
    again = tell_apart([*shared, *own], told.remembered, DEFAULT)
    assert time.process_time() - begun < 2
    assert ports(told) == ports(again)
    assert len({each.admin for each in told.proxies[:5000]}) == 5000
    assert {each.admin for each in told.proxies[5000:]} == {DEFAULT}


HOSTS = st.sampled_from(["127.0.0.1", "127.0.0.2", "0.0.0.0", "::"])
ADDRESSES = st.tuples(HOSTS, st.integers(19000, 19004))
PROXIES = st.lists(
    st.builds(
        Proxy,
        st.sampled_from("abcdefgh"),
        st.just("n"),
        admin=st.none() | ADDRESSES,
        netns=st.sampled_from(["", "", "/a"]),
    ),
    unique_by=lambda proxy: proxy.id,
    max_size=8,
)
SETTINGS = st.dictionaries(st.sampled_from("abcdefgh"), ADDRESSES, max_size=3)
BUSY = st.sets(st.integers(19000, 19004))


def is_in(ports: set[int], at: Address) -> bool:
    return at[1] in ports


def clash(one: Address | None, two: Address | None) -> bool:
    assert one
    assert two
    hosts = {one[0], two[0]}
    return one[1] == two[1] and (len(hosts) == 1 or bool(hosts & {"0.0.0.0", "::"}))


@given(st.lists(st.tuples(PROXIES, SETTINGS, BUSY, st.booleans()), max_size=4))
def test_fault_89_whatever_comes_no_two_share_an_address(
    rounds: list[tuple[list[Proxy], dict[str, Address], set[int], bool]],
) -> None:
    """In no round; what was asked for is what one gets; who asks for none keeps his."""
    remembered: dict[str, Admin] = {}
    for given_, settings, busy, keep in rounds:
        told = tell_apart(
            given_,
            remembered,
            DEFAULT,
            settings=settings,
            is_busy=partial(is_in, busy),
            keep=keep,
        )
        assert [each.id for each in told.proxies] == [each.id for each in given_]
        served = [each for each in told.proxies if not each.conflict]
        for number, one in enumerate(served):
            for two in served[number + 1 :]:
                assert one.netns != two.netns or not clash(one.admin, two.admin)
        asked = {each.id: each.admin or settings.get(each.id) for each in given_}
        for each in told.proxies:
            if asked[each.id]:
                assert each.admin == asked[each.id]
            else:
                assert not each.conflict
        used = {each.admin for each in told.proxies if asked[each.id]}
        for each in told.proxies:
            had = remembered.get(each.id)
            if had and not asked[each.id] and had.netns == each.netns:
                taken = any(clash(had.address, other) for other in used)
                assert (
                    taken
                    or had.address[0] != "127.0.0.1"
                    or (each.admin == had.address)
                )
        kept = (
            {}
            if not keep
            else {
                name: had
                for name, had in remembered.items()
                if name not in asked
                and not any(
                    each.netns == had.netns and clash(each.admin, had.address)
                    for each in served
                )
            }
        )
        assert told.remembered.keys() == {each.id for each in served} | kept.keys()
        remembered = dict(told.remembered)
