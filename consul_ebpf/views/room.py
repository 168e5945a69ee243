"""How many connections to the endpoint each client may have at once. Pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

TOTAL: Final = 384
"""Connections to the unix socket. A process may have 1024 descriptors unless that was
raised, and needs some for the servers."""

OTHERS: Final = 256
"""Of these, all that users other than root, our own and `api.users` may have together:
whatever they do, there is room for those who run the host."""

EACH: Final = 128
"""Of these, those of one user. An Envoy that waits for its bootstrap has one."""

TCP: Final = 128
"""Connections to `api.listen`, where users are unknown."""

ADDRESS: Final = 32
"""Of these, those from one address."""

Who = int | str
"""The client: the uid at a unix socket's other end, or a TCP connection's address."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be at once."""

    total: int = TOTAL
    others: int = OTHERS
    each: int = EACH
    tcp: int = TCP
    address: int = ADDRESS

    def within(self, descriptors: int) -> "Limits":
        """Return these, or smaller ones that leave half of `descriptors` unused.

        Args:
            descriptors: how many the process may have; -1: any number.
        """
        part = descriptors / 2 / (self.total + self.tcp)
        if descriptors < 0 or part >= 1:
            return self
        return Limits(
            **{name: max(1, int(most * part)) for name, most in asdict(self).items()}
        )


class Room:
    """Counts the connections there are.

    Args:
        known: uids that only the total limits: root's, our own, `api.users`.
        limits: how many there may be.
    """

    def __init__(self, known: frozenset[int], limits: Limits | None = None) -> None:
        self._known = known
        self._limits = limits or Limits()
        self._held: Counter[Who] = Counter()

    def __repr__(self) -> str:
        return f"<Room {self._held.total()} connections>"

    def enter(self, who: Who) -> bool:
        """Count a connection if there is room for it; return whether there is."""
        if self.in_the_way(who):
            return False
        self._held[who] += 1
        return True

    def leave(self, who: Who) -> None:
        """Count a connection no more."""
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]

    def in_the_way(self, who: Who) -> frozenset[Who]:
        """Return the clients whose connections leave no room for `who`; empty: none do.

        If the client's own share is full, that is itself; else those that have most.
        """
        for group, most in self._shares(who):
            held = {each: self._held[each] for each in group}
            if sum(held.values()) >= most:
                largest = max(held.values())
                return frozenset(each for each, n in held.items() if n == largest)
        return frozenset()

    def _shares(self, who: Who) -> Iterator[tuple[set[Who], int]]:
        """Yield each share that `who` is in: its clients, and how many it allows."""
        limits = self._limits
        if isinstance(who, str):
            yield {who}, limits.address
            yield {each for each in self._held if isinstance(each, str)}, limits.tcp
            return
        unix: set[Who] = {each for each in self._held if isinstance(each, int)}
        if who not in self._known:
            yield {who}, limits.each
            yield unix - self._known, limits.others
        yield unix, limits.total
