"""Which entry is used when several sources name a proxy of one key. Pure.

Rule 1: the earlier source wins. The order is: the configuration, drop-in files, proxies
registered at run time, the catalog. What is written on the host itself is meant for it.
Rule 2: an entry without a place or credentials does not win over one that has them. So
nobody can unbind a VIP, or make a proxy use the host's token, by naming its id again.
"""

from collections.abc import Iterable

from consul_ebpf.model.names import named
from consul_ebpf.model.values import Proxy

_CATALOG = "catalog node "


def catalog_owner(node: str) -> str:
    """Return the owner of the proxies of a catalog node."""
    return f"{_CATALOG}{node}"


def of_catalog(owner: str) -> bool:
    """Whether an owner is a catalog node: every other source wins over it."""
    return owner.startswith(_CATALOG)


def protects(proxy: Proxy) -> frozenset[str]:
    """Return what an entry has that an entry without it must not replace."""
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
    """Return one proxy for each key, and the others, each with the reason.

    `proxies` are in the order of their sources, the preferred source first. Namespaces
    do not tell two proxies apart here: files and commands are named by the key alone.
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
