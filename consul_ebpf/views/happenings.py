"""What happened on a host between two looks at it: servers' states, proxies' moves.

A line names few proxies and counts the rest, so a failover of thousands is one line.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from consul_ebpf.model.values import KernelState, SlottedServer, Vip, VipCounters

NAMED = 8
"""Proxies that one happening names, at most."""

NAME_LENGTH = 120
"""Characters of a proxy's name that are kept."""

Kind = Literal[
    "server_ready",
    "server_failing",
    "server_draining",
    "server_gone",
    "moved",
    "connected",
    "proxies_new",
    "proxies_gone",
    "controller_started",
    "controller_ended",
    "attached",
    "detached",
    "event",
]
"""Kinds of happenings; `event` is one of base/events.py."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened."""

    at: float
    """Unix time at which it was seen."""
    kind: str
    """A `Kind`; another version's file may hold one that is not known here."""
    server: str = ""
    """`address:port` that this is about, or that the proxies left."""
    to: str = ""
    """`address:port` that the proxies went to."""
    proxies: list[str] = field(default_factory=list)
    """The names of at most `NAMED` proxies."""
    count: int = 0
    """How many proxies there were, or how often the event happened."""
    event: str = ""
    """The event's name."""
    times: int = 1
    """How often proxies that go back and forth moved, if that is told as one."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is compared with what was there before."""

    at: float
    """Unix time."""
    tables: KernelState
    names: Mapping[Vip, str] = field(default_factory=dict)
    """The proxies' names, by VIP; where one is missing, its VIP is shown."""
    events: Mapping[str, int] = field(default_factory=dict)
    """How often each event happened since the start of controller `pid`."""
    pid: int | None = None
    """The controller's; None: none runs."""
    attached: bool = True
    """Whether the programs are attached."""
    booted: float = 0.0
    """Unix time at which `time.monotonic()` was zero; 0: not known."""

    def name_of(self, vip: Vip) -> str:
        """Return a proxy's name, else its VIP."""
        return self.names.get(vip) or vip.literal

    def endpoint_of(self, slot: int | None) -> str:
        """Return the `address:port` of the server in a slot; empty: none is."""
        row: SlottedServer | None = None
        if slot is not None:
            row = self.tables.table.servers.get(slot)
        return row.server.endpoint if row else ""


@dataclass(frozen=True, slots=True)
class Connect:
    """A proxy connected, for the first time or again."""

    name: str
    left: str
    """`address:port` of the server before; empty: there was none, or it is unknown."""
    to: str
    """`address:port` of the server that it went to."""
    at: float
    """Unix time."""

    @property
    def moved(self) -> bool:
        """Whether it went to another server."""
        return self.left not in {"", self.to}


def compare(before: Look, now: Look) -> list[Happening]:
    """Return what happened from one look to the next, causes first. Pure.

    The servers' states are not among it: `timeline.py` knows them from earlier.
    """
    return [
        *_controllers(before, now),
        *tell(connects(before, now)),
        *_proxies(before, now),
        *_events(before, now),
    ]


def _controllers(before: Look, now: Look) -> Iterator[Happening]:
    if before.pid != now.pid and before.pid is not None:
        yield Happening(now.at, "controller_ended")
    if before.pid != now.pid and now.pid is not None:
        yield Happening(now.at, "controller_started")
    if before.attached != now.attached:
        yield Happening(now.at, "attached" if now.attached else "detached")


def connects(before: Look, now: Look) -> Iterator[Connect]:
    """Yield the newest connect of each proxy that connected since the look before."""
    if before.tables.vips is now.tables.vips:
        return
    for vip, row in now.tables.vips.items():
        last = before.tables.vips.get(vip, VipCounters())
        # Fewer connects: the VIP was given to another proxy meanwhile.
        if row.connects > last.connects:
            left = before.endpoint_of(last.current)
            if not left and row.connects > last.connects + 1:
                left = left_within(now, row)
            yield Connect(now.name_of(vip), left, now.endpoint_of(row.current), now.at)


def left_within(look: Look, row: VipCounters) -> str:
    """Return the server of a VIP's newest connect but one, `address:port` or empty."""
    newest_but_one = row.sockets[-2:-1]
    return look.endpoint_of(newest_but_one[0][1]) if newest_but_one else ""


def tell(found: Iterable[Connect]) -> list[Happening]:
    """Group connects by the server that was left, and the new one. Pure."""
    groups: dict[tuple[str, str], list[Connect]] = {}
    for each in found:
        if each.left != each.to:
            groups.setdefault((each.left, each.to), []).append(each)
    return [
        _of_proxies(
            max(each.at for each in group),
            "moved" if left else "connected",
            (each.name for each in group),
            left,
            to,
        )
        for (left, to), group in sorted(groups.items())
    ]


def _proxies(before: Look, now: Look) -> Iterator[Happening]:
    old, new = before.tables.vips, now.tables.vips
    if old is new:
        return
    if came := [now.name_of(vip) for vip in new if vip not in old]:
        yield _of_proxies(now.at, "proxies_new", came)
    if went := [before.name_of(vip) for vip in old if vip not in new]:
        yield _of_proxies(now.at, "proxies_gone", went)


def _events(before: Look, now: Look) -> Iterator[Happening]:
    """Compare the counts. Another controller's begin anew, and are on disk later."""
    if before.pid != now.pid:
        return
    for name, often in now.events.items():
        if name in SHOWN_OTHERWISE:
            continue
        if (more := often - before.events.get(name, 0)) > 0:
            yield Happening(now.at, "event", event=name, count=more)


SHOWN_OTHERWISE = frozenset({"server_failing"})
"""Events that are happenings of their own already."""


def _of_proxies(
    at: float, kind: Kind, names: Iterable[str], server: str = "", to: str = ""
) -> Happening:
    all_ = sorted(names)
    named = [each[:NAME_LENGTH] for each in all_[:NAMED]]
    return Happening(at, kind, server, to, named, len(all_))
