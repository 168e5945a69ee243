"""Of several entries of one id, which is taken."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.values import Credentials, Proxy
from consul_ebpf.proxies.sources.precedence import (
    catalog_owner,
    chosen,
    of_catalog,
    protects,
)

OWN = Credentials(token_file="/own")
CATALOG = Proxy("web", "host1", owner=catalog_owner("host1"))
REGISTERED = Proxy(
    "web", "n", netns="/run/netns/web", credentials=OWN, owner="registered at run time"
)


def test_fault_86_the_catalog_replaces_nobody() -> None:
    """A registered proxy keeps its place and its login; the loser is told of."""
    other = Proxy("db", "host1", owner=catalog_owner("host1"))
    winners, refused = chosen([REGISTERED, CATALOG, other])
    assert winners == (REGISTERED, other)
    ((loser, why),) = refused
    assert loser == CATALOG
    assert why == (
        "proxy 'web' (catalog node host1): refused, proxy 'web' (registered at run"
        " time) has this id, and a place (netns or cgroup) and credentials of its own"
    )


@pytest.mark.parametrize(
    "poor",
    [
        Proxy("web", "n", owner="/etc/d/web.toml"),
        Proxy("web", "n", netns="/run/netns/x", owner="/etc/d/web.toml"),
        Proxy("web", "n", credentials=OWN, owner="/etc/d/web.toml"),
    ],
)
def test_fault_86_no_entry_takes_a_place_or_credentials_away(poor: Proxy) -> None:
    """Even of a source that is preferred: never from bound to unbound."""
    ((winner,), ((loser, why),)) = (
        chosen([poor, REGISTERED, CATALOG])[0],
        chosen([poor, REGISTERED])[1],
    )
    assert winner == REGISTERED
    assert loser == poor
    assert "of its own" in why


def test_the_source_that_comes_first_wins() -> None:
    """Where both protect as much, or each something else."""
    bound = Proxy("web", "n", netns="/run/netns/web", owner="one")
    owned = Proxy("web", "n", credentials=OWN, owner="two")
    for first, second in permutations([bound, owned]):
        assert chosen([first, second])[0] == (first,)
    twin = Proxy("web", "n", netns="/other", owner="three")
    for first, second in permutations([bound, twin]):
        assert chosen([first, second])[0] == (first,)


def test_whose_a_catalogs_is() -> None:
    """A drop-in's path, and what is registered, is not taken for a catalog node."""
    assert of_catalog(CATALOG.owner)
    assert not any(map(of_catalog, ["", REGISTERED.owner, "/catalog node x"]))


PROXIES = st.lists(
    st.builds(
        Proxy,
        st.sampled_from("abc"),
        st.sampled_from("xyz"),
        netns=st.sampled_from(["", "/a", "/b"]),
        cgroup=st.sampled_from(["", "/c"]),
        credentials=st.sampled_from([None, OWN]),
    ),
    max_size=8,
)


@given(PROXIES)
def test_fault_86_whatever_comes_together(proxies: list[Proxy]) -> None:
    """One for each id, all others refused, and none that protects less than another."""
    winners, refused = chosen(proxies)
    assert [each.id for each in winners] == list(dict.fromkeys(p.id for p in proxies))
    assert len(winners) + len(refused) == len(proxies)
    for winner in winners:
        rivals = [each for each in proxies if each.id == winner.id]
        assert not any(protects(winner) < protects(each) for each in rivals)
        better = rivals[: rivals.index(winner)]
        assert all(any(protects(b) < protects(r) for r in rivals) for b in better)
