"""Who may have how many connections to the endpoint at once. Pure."""

from collections import Counter
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
        if not self._fits(who):
            return False
        self._held[who] += 1
        return True

    def leave(self, who: Who) -> None:
        """Forget one that was counted."""
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]

    def _fits(self, who: Who) -> bool:
        limits = self._limits
        if isinstance(who, str):
            tcp = sum(n for each, n in self._held.items() if isinstance(each, str))
            return tcp < limits.tcp and self._held[who] < limits.address
        unix = {uid: n for uid, n in self._held.items() if isinstance(uid, int)}
        if sum(unix.values()) >= limits.total:
            return False
        if who in self._known:
            return True
        others = sum(n for uid, n in unix.items() if uid not in self._known)
        return others < limits.others and self._held[who] < limits.each
