"""Who may have how many connections to the endpoint at once. Pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

TOTAL: Final = 384
"""Connections of the unix socket. A process has 1024 descriptors where nobody raised
that, and those of the servers' connections come first."""

OTHERS: Final = 256
"""Of these, all that are not of root, our own user or `api.users` together: whatever
they do, there is room for those who run the host."""

EACH: Final = 128
"""Of one user among the others. An Envoy that waits for its bootstrap has one."""

TCP: Final = 128
"""Of `api.listen`, where nobody has a name."""

ADDRESS: Final = 32
"""Of one address among these."""

Who = int | str
"""The uid of a unix socket's other end; the address of a TCP connection's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be at once."""

    total: int = TOTAL
    others: int = OTHERS
    each: int = EACH
    tcp: int = TCP
    address: int = ADDRESS

    def within(self, descriptors: int) -> "Limits":
        """Return these, or as much less as leaves half of `descriptors` to others."""
        part = descriptors / 2 / (self.total + self.tcp)
        if descriptors < 0 or part >= 1:  # -1: there is no end of them
            return self
        return Limits(
            **{name: max(1, int(most * part)) for name, most in asdict(self).items()}
        )


class Room:
    """Counts the connections that there are.

    Args:
        known: uids that are only counted in the total: root, our own, `api.users`.
        limits: how many there may be.
    """

    def __init__(self, known: frozenset[int], limits: Limits | None = None) -> None:
        self._known = known
        self._limits = limits or Limits()
        self._held: Counter[Who] = Counter()

    def __repr__(self) -> str:
        return f"<Room {self._held.total()} connections>"

    def enter(self, who: Who) -> bool:
        """Count a connection, if there is room for it."""
        if self.in_the_way(who):
            return False
        self._held[who] += 1
        return True

    def leave(self, who: Who) -> None:
        """Forget one that was counted."""
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]

    def in_the_way(self, who: Who) -> frozenset[Who]:
        """Return whose connections leave no room for `who`; empty: there is room.

        His own, where his share is full; else those of who has most.
        """
        for group, most in self._shares(who):
            held = {each: self._held[each] for each in group}
            if sum(held.values()) >= most:
                largest = max(held.values())
                return frozenset(each for each, n in held.items() if n == largest)
        return frozenset()

    def _shares(self, who: Who) -> Iterator[tuple[set[Who], int]]:
        """Yield (who has connections of it, how many at most) of each share."""
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
