"""The history of a host: what happened last, and since when each server is as it is.

It is a value that grows with each look: the controller keeps it in a file, `top` goes
on with it while no controller runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.views.happenings import (
    Connect,
    Happening,
    Look,
    compare,
    connects,
    left_within,
    tell,
)

TIMELINE_FILE = "timeline.json"
"""The file's name in the bootstraps' directory."""

KEPT = 100
"""Happenings that are kept: the newest, and what happened to servers before others."""

RESTLESS_SECONDS = 60.0
"""Within which the third move of a proxy, and each further one, is no news: it is told
as one with the one before."""

STAYS = 4096
"""Proxies of which it is kept where they are: those that connected last."""


@dataclass(frozen=True, slots=True)
class StateSince:
    """A server's state, and since when it has it."""

    state: str
    since: float
    """Unix time at which it was seen first."""


@dataclass(frozen=True, slots=True)
class Stay:
    """A proxy's stay at a server."""

    since: float
    """Unix time at which its newest connect was seen."""
    moves: int = 0
    """How often it was seen to go to another server."""
    server: str = ""
    """Its `address:port`; empty: not known, an older version wrote this."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is remembered of a host's past."""

    happenings: list[Happening] = field(default_factory=list)
    """The oldest first."""
    states: dict[str, StateSince] = field(default_factory=dict)
    """By the server's `address:port`."""
    stays: dict[str, Stay] = field(default_factory=dict)
    """By the proxy's name, the newest connect last. What connected before anybody
    looked is not there."""


def since(states: Mapping[str, StateSince], server: str, state: str) -> float:
    """Return since when a server has this state, in Unix time; 0: not known."""
    known = states.get(server)
    return known.since if known and known.state == state else 0.0


def follow(timeline: Timeline, before: Look, now: Look) -> Timeline:
    """Return the timeline with what happened from one look to the next. Pure.

    What the servers' states were is known from the timeline, not from the look before:
    a server may have died while nobody looked.
    """
    states = _states(timeline, now)
    servers = _of_servers(timeline, states, now.at)
    news = [*servers, *compare(before, now)]
    stays = _stays(timeline.stays, connects(before, now))
    if not news and stays == timeline.stays:
        return timeline
    return Timeline(together(timeline.happenings, news, KEPT), states, stays)


def _states(timeline: Timeline, now: Look) -> dict[str, StateSince]:
    """Return the servers' states; one that did not change has the time it had."""
    servers = now.tables.table.servers.values()
    found = {row.server.endpoint: row.state.value for row in servers}
    return {
        server: StateSince(state, since(timeline.states, server, state) or now.at)
        for server, state in found.items()
    }


def _of_servers(
    timeline: Timeline, states: dict[str, StateSince], at: float
) -> Iterable[Happening]:
    for server, now in states.items():
        if timeline.states.get(server) != now:
            yield Happening(at, f"server_{now.state}", server=server)
    for server in timeline.states:
        if server not in states:
            yield Happening(at, "server_gone", server=server)


def _stays(stays: Mapping[str, Stay], found: Iterable[Connect]) -> dict[str, Stay]:
    known = dict(stays)
    for each in found:
        last = known.pop(each.name, Stay(0.0))  # the newest connect goes to the end
        known[each.name] = Stay(each.at, last.moves + each.moved, each.to)
    return dict(list(known.items())[-STAYS:])


def catch_up(timeline: Timeline, now: Look) -> Timeline:
    """Return the timeline with the connects that happened while nobody looked. Pure.

    Where each proxy was is known from the timeline, and from the kernel when it went
    where it is. What is older than all that the timeline tells is not told.
    """
    last = timeline.happenings[-1].at if timeline.happenings else float("inf")
    found: list[Connect] = []
    known: dict[str, Stay] = {}
    for vip, row in now.tables.vips.items():
        to = now.endpoint_of(row.current)
        if not to:
            continue
        name = now.name_of(vip)
        at = now.booted + row.newest if row.newest else 0.0
        stay = timeline.stays.get(name)
        if stay is None and at < last - 1:  # `at` is exact to a second
            known[name] = Stay(at, 0, to)
        elif stay is None:
            found.append(Connect(name, left_within(now, row), to, at))
        elif stay.server and stay.server != to:
            found.append(Connect(name, stay.server, to, at or now.at))
        elif not stay.server:
            known[name] = replace(stay, server=to)
    if not found and not known:
        return timeline
    stays = {**timeline.stays, **known}
    oldest_first = dict(sorted(stays.items(), key=lambda each: each[1].since))
    told = together(timeline.happenings, tell(found), KEPT)
    return Timeline(told, timeline.states, _stays(oldest_first, found))


def together(
    happenings: Iterable[Happening], more: Iterable[Happening], limit: int
) -> list[Happening]:
    """Append happenings; what repeats becomes one with a count. Pure.

    A proxy whose token is refused goes from server to server for hours; it must not
    crowd out the death of a server.

    Args:
        happenings: the oldest first.
        more: what came after them.
        limit: how many are kept.
    """
    all_ = list(happenings)
    for each in more:
        last = all_[-1] if all_ else None
        if last and each.event and each.event == last.event:
            all_[-1] = replace(each, count=last.count + each.count)
        elif restless := _restless(all_, each):
            all_.remove(restless)
            all_.append(replace(each, times=restless.times + 1))
        else:
            all_.append(each)
    return _within(all_, limit)


def _restless(told: Sequence[Happening], each: Happening) -> Happening | None:
    """Return the move that a move of the same proxies repeats; None: it is news."""
    before = [
        old
        for old in told
        if (old.kind, old.proxies, old.count) == ("moved", each.proxies, each.count)
        and each.at - old.at <= RESTLESS_SECONDS
    ]
    if each.kind != "moved" or not before:
        return None
    return before[-1] if len(before) > 1 or before[-1].times > 1 else None


def _within(told: list[Happening], limit: int) -> list[Happening]:
    """Return at most so many; at least half of the room is for what servers did."""
    of_servers = [each for each in told if each.kind.startswith("server_")]
    room = limit - min(len(of_servers), limit // 2)
    others = [each for each in told if not each.kind.startswith("server_")][-room:]
    kept = {id(each) for each in [*of_servers[len(others) - limit :], *others]}
    return [each for each in told if id(each) in kept]


class TimelineFile:
    """`timeline.json`: so `status` and `top` need no controller to show it."""

    def __init__(self, directory: Path) -> None:
        """Keep the file in the bootstraps' directory."""
        self._file = JsonFile(directory / TIMELINE_FILE, Timeline)

    def __repr__(self) -> str:
        return f"<TimelineFile {self._file.path}>"

    def read(self) -> Timeline | None:
        """Return what is in it; None: it is missing or damaged."""
        try:
            return self._file.read()
        except (ValueError, RecursionError):
            return None

    def load(self) -> Timeline:
        """Return what is in it; a damaged file is set aside and logged."""
        return self._file.load() or Timeline()

    def save(self, timeline: Timeline) -> None:
        """Write it if it changed; a standing failure is logged once."""
        self._file.save(timeline)
