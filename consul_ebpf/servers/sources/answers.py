"""Answers that name some of the servers, put together. Pure.

A name server may give a few of its addresses at random, and others the next second; a
list that follows each answer would move proxies all the time. So what an answer leaves
out is kept for a while: for a short one, and once servers were seen to come back, for
one in which each of them is bound to be named again.
"""

from typing import NamedTuple

from consul_ebpf.model.values import MAX_SERVERS, Server

KEEP = 10.0
"""Seconds, and answers below, that a server is kept which is no longer named."""
KEEP_ANSWERS = 3
KEEP_MOST = 180.0

KEEP_SAMPLED = 120.0
"""The same where answers are known to leave servers out."""
KEEP_SAMPLED_ANSWERS = 40
KEEP_SAMPLED_MOST = 3600.0

REMEMBERED = 600.0
"""Seconds in which a server that comes back shows that answers leave servers out."""


class Found(NamedTuple):
    """What a seed stands for."""

    servers: tuple[Server, ...]
    again: float
    """In how many seconds to ask again."""
    left_out: tuple[str, ...] = ()
    """A line for each thing that was left out."""
    partial: bool = False
    """Whether something could not be asked: what it stood for is not gone."""


class Union:
    """The servers of one name, over its newest answers."""

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
        """Take an answer of now; return all that are named or kept, sorted by id."""
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
