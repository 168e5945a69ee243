"""Gives each VIP its preference: which server first, which next. Pure.

The rules, each with a property test in tests/unit/planning/:

1. Even: the number of first choices differs by at most one between servers, and still
   does after any one server is gone. Later choices are spread too, but not so exactly.
2. Stable: a proxy's first choice changes only if rule 1 demands it. When a server is
   gone for good, its proxies' second choice becomes the first: the kernel has already
   moved them there.
3. Different on each host: the seed decides the ranking of servers.
4. A preference has a ready server, if there is one, and no draining server.
5. A server's death changes no preference: a failing server keeps its place.

Rendezvous hashing ranks the servers; a limit on each server's load makes the choices
even. To plan 65,536 proxies in about a second, proxies share `_RANKINGS` rankings.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import blake2b

from consul_ebpf.model.values import (
    MAX_CHOICES,
    Preference,
    ServerState,
    SlottedServer,
    Vip,
)

_RANKINGS = 1024


def plan(
    vips: Iterable[Vip],
    servers: Mapping[int, SlottedServer],
    last: Mapping[Vip, Preference],
    seed: str,
) -> dict[Vip, Preference]:
    """Compute every VIP's preference.

    Args:
        vips: the VIPs to serve, in any order.
        servers: the rows of one service. Draining ones are in no preference.
        last: the preferences until now, of this process or read from the kernel.
        seed: differs from host to host, and is the same after a restart.
    """
    usable = {
        slot: entry.server.endpoint
        for slot, entry in servers.items()
        if entry.state is not ServerState.DRAINING
    }
    if not usable:
        return dict.fromkeys(vips, ())
    key = blake2b(seed.encode(), digest_size=32).digest()
    hashed = sorted(
        (int.from_bytes(blake2b(vip.packed, key=key, digest_size=8).digest()), vip)
        for vip in set(vips)
    )
    # From here on a VIP is its index in `hashed`.
    rankings = _rankings(usable, key)
    # Ties between servers are decided by rank, too. Decided by slot, every host would
    # give its odd proxy to the same server.
    slots = rankings[0]
    ranking = [rankings[number % len(rankings)] for number, _ in hashed]
    kept = [
        tuple([slot for slot in last.get(vip, ()) if slot in usable])
        for _, vip in hashed
    ]
    everyone = range(len(hashed))
    holding = frozenset(
        i for i in everyone if kept[i] and kept[i][0] == last[hashed[i][1]][0]
    )
    first = _spread(everyone, slots, ranking, kept, Counter(), holding=holding)
    second = _second_choices(slots, ranking, kept, first) if len(slots) > 1 else {}
    ready = {n for n, entry in servers.items() if entry.state is ServerState.READY}
    planned: dict[Vip, Preference] = {}
    same: dict[Preference, Preference] = {}  # with few servers, most VIPs share one
    for i in everyone:
        chosen = (first[i], second[i]) if second else (first[i],)
        preference = _complete(chosen, ranking[i], ready)
        planned[hashed[i][1]] = same.setdefault(preference, preference)
    return planned


def _rankings(endpoints: Mapping[int, str], key: bytes) -> list[tuple[int, ...]]:
    """Rank all slots `_RANKINGS` times, by the servers' endpoints."""
    # One long digest gives a server's score in several rankings at once.
    scores: dict[int, bytes] = {
        slot: b"".join(
            blake2b(endpoint.encode(), key=key, salt=block.to_bytes(16)).digest()
            for block in range(_RANKINGS // 8)
        )
        for slot, endpoint in endpoints.items()
    }
    return [
        tuple(sorted(scores, key=lambda slot: scores[slot][at : at + 8]))
        for at in range(0, _RANKINGS * 8, 8)
    ]


def _second_choices(
    slots: Sequence[int],
    ranking: Sequence[Preference],
    kept: Sequence[Preference],
    first: Mapping[int, int],
) -> dict[int, int]:
    """Spread each server's proxies over the others, as if that server were gone."""
    loads = Counter(first.values())
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for i in sorted(first):
        groups[first[i]].append(i)
    second: dict[int, int] = {}
    column: Counter[int] = Counter()
    for gone in slots:
        # A proxy's own first choice is not among the others, so what it keeps of its
        # last plan is its old second choice, or its old first one.
        others = [slot for slot in slots if slot != gone]
        chosen = _spread(groups[gone], others, ranking, kept, loads, ties=column)
        column.update(chosen.values())
        second.update(chosen)
    return second


def _spread(
    group: Sequence[int],
    slots: Sequence[int],
    ranking: Sequence[Preference],
    kept: Sequence[Preference],
    loads: Mapping[int, int],
    *,
    holding: AbstractSet[int] = frozenset(),
    ties: Mapping[int, int] | None = None,
) -> dict[int, int]:
    """Give each VIP of the group one of `slots`, so that `loads` become even.

    A VIP gets the first slot of `kept` that is usable and has room, else the best of
    its ranking that has room. VIPs in `holding` are there already, and come before
    others. If the load cannot be the same everywhere, the slots that get one more are
    those that have most, so that little moves; then those with least in `ties`; then
    those that come first in `slots`.
    """
    among = frozenset(slots)
    wish = {i: next((slot for slot in kept[i] if slot in among), None) for i in group}
    base = {slot: loads.get(slot, 0) for slot in slots}
    staying = Counter(base)
    staying.update(
        slot for i, slot in wish.items() if slot is not None and i in holding
    )
    wanted = Counter(base)
    wanted.update(slot for slot in wish.values() if slot is not None)
    room = _room(base, staying, wanted, len(group), ties or {})

    chosen: dict[int, int] = {}
    homeless: list[int] = []
    for i in sorted(group, key=lambda i: i not in holding):
        slot = wish[i]
        if slot is not None and room[slot] > 0:
            room[slot] -= 1
            chosen[i] = slot
        else:
            homeless.append(i)
    for i in homeless:
        for slot in (*kept[i], *ranking[i]):
            if slot in among and room[slot] > 0:
                room[slot] -= 1
                chosen[i] = slot
                break
    return chosen


def _room(
    base: Mapping[int, int],
    staying: Mapping[int, int],
    wanted: Mapping[int, int],
    count: int,
    ties: Mapping[int, int],
) -> dict[int, int]:
    """Return how many of `count` more VIPs each slot takes, so that loads are even.

    `plan` guarantees that no base load is above the even share plus one.
    """
    share, extra = divmod(sum(base.values()) + count, len(base))
    by_claim = sorted(
        base,
        key=lambda slot: (
            base[slot] <= share,
            staying[slot] <= share,
            -wanted[slot],
            ties.get(slot, 0),
        ),
    )
    target = {slot: share + (nth < extra) for nth, slot in enumerate(by_claim)}
    return {slot: target[slot] - base[slot] for slot in base}


def _complete(
    chosen: Preference, ranking: Preference, ready: AbstractSet[int]
) -> Preference:
    """Append later choices by rank. If rule 4 needs it, the last is a ready server."""
    preference = tuple(dict.fromkeys(chosen + ranking[: MAX_CHOICES + 2]))[:MAX_CHOICES]
    if ready and ready.isdisjoint(preference):
        spare = next(slot for slot in ranking if slot in ready)
        preference = (*preference[:-1], spare)
    return preference
