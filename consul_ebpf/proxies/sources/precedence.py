"""Which entry is taken where several sources name a proxy of one key. Pure.

Rule 1: the source that comes first wins: the configuration, then drop-in files, then
what was registered at run time, then the catalog. What is written on the host itself is
meant for this host.
Rule 2: an entry without a place or credentials of its own does not take those away. So
nobody unbinds a VIP, or has a proxy given the host's token, by naming its id once more.
"""

from collections.abc import Iterable

from consul_ebpf.model.names import named
from consul_ebpf.model.values import Proxy

_CATALOG = "catalog node "


def catalog_owner(node: str) -> str:
    """Return the owner of the proxies of a catalog node."""
    return f"{_CATALOG}{node}"


def of_catalog(owner: str) -> bool:
    """Whether a proxy is a catalog node's, to which every other source is preferred."""
    return owner.startswith(_CATALOG)


def protects(proxy: Proxy) -> frozenset[str]:
    """Return what an entry has of its own that another must not take away."""
    return frozenset(
        name
        for name, own in {
            "a place (netns or cgroup)": proxy.netns or proxy.cgroup,
            "credentials": proxy.credentials,
        }.items()
        if own
    )


def chosen(
    proxies: Iterable[Proxy],
) -> tuple[tuple[Proxy, ...], tuple[tuple[Proxy, str], ...]]:
    """Return one proxy for each key, and the others each with a reason.

    `proxies` are in the order of their sources, those of the preferred one first. By
    key alone, whatever the namespace: a host's files and commands know no more.
    """
    by_key: dict[str, list[Proxy]] = {}
    for proxy in proxies:
        by_key.setdefault(proxy.key, []).append(proxy)
    winners = tuple(_winner(each) for each in by_key.values())
    refused = tuple(
        (loser, _why(loser, winner))
        for winner in winners
        for loser in by_key[winner.key]
        if loser is not winner
    )
    return winners, refused


def _winner(candidates: list[Proxy]) -> Proxy:
    return next(
        each
        for each in candidates
        if not any(protects(each) < protects(other) for other in candidates)
    )


def _why(loser: Proxy, winner: Proxy) -> str:
    why = f"{named(loser)}: refused, {named(winner)} has this id"
    lost = sorted(protects(winner) - protects(loser))
    return f"{why}, and {' and '.join(lost)} of its own" if lost else why
