"""What a timeline tells of servers that died: which are gone, and who left them. Pure.

Consul forgets a dead server within seconds to hours, and it is in no table then.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from consul_ebpf.views.happenings import NAMED, Happening

LOST_SECONDS = 3600.0
"""For which a server that died and is listed no more is shown."""

BEFORE_SECONDS = 60.0
"""How long before its state says so proxies may have left a server that died: with
other servers they are within a second, its state within three probes."""


@dataclass(frozen=True, slots=True)
class Left:
    """The proxies that left a server."""

    proxies: list[str] = field(default_factory=list)
    """The names of at most `NAMED`."""
    count: int = 0

    def without(self, names: Collection[str]) -> "Left":
        """Return the same but for proxies with these names."""
        kept = [each for each in self.proxies if each not in names]
        return Left(kept, self.count - len(self.proxies) + len(kept))


@dataclass(frozen=True, slots=True)
class LostServer:
    """A server that died, or seems to have."""

    server: str
    """`address:port`."""
    since: float
    """Unix time at which it failed, or was left."""
    left: Left = field(default_factory=Left)
    """The proxies that went from it to others."""


def left(timeline: Sequence[Happening], server: str, since: float) -> Left:
    """Return who left a server that died.

    Args:
        timeline: the oldest first.
        server: its `address:port`.
        since: Unix time at which its state changed; 0: not known, so of all that is
            told.
    """
    moves = [
        each
        for each in timeline
        if each.kind == "moved"
        and each.times == 1
        and each.server == server
        and each.at >= since - BEFORE_SECONDS
    ]
    names = dict.fromkeys(name for each in moves for name in each.proxies)
    # Who moved twice is counted once, where all have been named.
    named_all = all(len(each.proxies) == each.count for each in moves)
    count = len(names) if named_all else sum(each.count for each in moves)
    return Left(list(names)[:NAMED], count)


def lost_servers(timeline: Sequence[Happening], at: float) -> list[LostServer]:
    """Return the servers that died, and that Consul lists no more.

    Args:
        timeline: the oldest first.
        at: now, in Unix time.
    """
    newest: dict[str, list[Happening]] = {}
    for each in timeline:
        if each.kind.startswith("server_"):
            newest.setdefault(each.server, []).append(each)
    found = []
    for server, told in newest.items():
        if [each.kind for each in told[-2:]] != ["server_failing", "server_gone"]:
            continue
        died = told[-2].at
        if at - died < LOST_SECONDS:
            found.append(LostServer(server, died, left(timeline, server, died)))
    return found


def deserted(timeline: Sequence[Happening], server: str) -> LostServer | None:
    """Return a server with who left it, if that is the newest that is told of it."""
    about = [
        each
        for each in timeline
        if server in {each.server, each.to} and each.kind != "event"
    ]
    if not about or (about[-1].kind, about[-1].server) != ("moved", server):
        return None
    at = about[-1].at
    return LostServer(server, at, left(timeline, server, at))
