"""Puts together answers that name only some of the servers. Pure.

A name server may give a few addresses at random, and others a second later. A list that
followed each answer would move proxies all the time. So a server that an answer leaves
out is kept for a while: a short one at first, and once a server was seen to come back,
one long enough for each of them to be named again.
"""

from typing import NamedTuple

from consul_ebpf.model.values import MAX_SERVERS, Server

KEEP = 10.0
"""Least seconds that a server is kept which is no longer named."""
KEEP_ANSWERS = 3
"""Answers for which it is kept, ..."""
KEEP_MOST = 180.0
"""... but for so many seconds at most."""

KEEP_SAMPLED = 120.0
"""The same three once answers are known to leave servers out."""
KEEP_SAMPLED_ANSWERS = 40
KEEP_SAMPLED_MOST = 3600.0

REMEMBERED = 600.0
"""A server that comes back within so many seconds shows that answers leave some out."""


class Found(NamedTuple):
    """What a seed stands for."""

    servers: tuple[Server, ...]
    again: float
    """Seconds until to ask again."""
    left_out: tuple[str, ...] = ()
    """A line for each thing that was left out."""
    partial: bool = False
    """Whether part of it could not be asked: the servers of that part are not gone."""


class Union:
    """The servers of one name, by its last few answers together."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._named: dict[str, float] = {}
        """When each was last named, by id."""
        self._newest = float("-inf")
        self._sampled = float("-inf")
        """When a server last came back."""

    def __repr__(self) -> str:
        return f"<Union of {len(self._servers)} servers>"

    def add(self, found: Found, now: float) -> tuple[Server, ...]:
        """Add a new answer; return the servers named or kept, sorted by id."""
        for server in found.servers:
            if self._named.get(server.id, now) < self._newest:
                self._sampled = now
        for server in found.servers:
            self._servers[server.id] = server
            self._named[server.id] = now
        if not found.partial:
            self._newest = now
            keep = _keep(found.again, sampled=now - self._sampled <= REMEMBERED)
            self._forget(now, keep)
        newest_first = sorted(self._servers, key=lambda id_: -self._named[id_])
        for id_ in newest_first[max(MAX_SERVERS, len(found.servers)) :]:
            del self._servers[id_], self._named[id_]
        return tuple(self._servers[id_] for id_ in sorted(self._servers))

    def _forget(self, now: float, keep: float) -> None:
        for id_, named in list(self._named.items()):
            if now - named > keep:
                self._servers.pop(id_, None)
            if now - named > max(keep, REMEMBERED):
                del self._named[id_]


def _keep(again: float, *, sampled: bool) -> float:
    if sampled:
        return min(max(KEEP_SAMPLED, KEEP_SAMPLED_ANSWERS * again), KEEP_SAMPLED_MOST)
    return min(max(KEEP, KEEP_ANSWERS * again), KEEP_MOST)
