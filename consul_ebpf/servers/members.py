"""What is known of each server of a pool, and the numbers in the rules. Values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consul_ebpf.model.values import PooledServer, Server, ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The numbers in the rules of `membership`."""

    rise: int = 2
    """Successes in a row that make a failing server ready."""
    fall: int = 3
    """Failures in a row that make a ready server failing."""
    drain_keep: float = 300.0
    """Seconds to remember a server that left the list and still answers."""
    dead_keep: float = 10.0
    """Seconds to show a draining server as failing, so that readers see its death."""
    shrink_grace: float = 30.0
    """Seconds before the servers a list lost all at once begin to drain."""
    leader_grace: float = 30.0
    """Seconds a server may be without a leader: an election takes a few."""


@dataclass(frozen=True, slots=True)
class Departure:
    """When a server left the list, and when it may drain, as clock readings."""

    left: float
    drains: float


@dataclass(frozen=True, slots=True)
class Member:
    """A server, and what its probes and the lists said of it."""

    server: Server
    up: bool | None = None
    """Whether it counts as working; None before the first probe."""
    streak: int = 0
    """Newest probes with the same result: n successes, or -n failures."""
    gone: Departure | None = None
    """None while listed."""
    fell: float = float("-inf")
    """Clock reading when it became failing."""
    leader: bool | None = None
    """Whether it last said that it knows the leader; None: it does not say."""
    lost: float = float("inf")
    """Clock reading when it last began to know no leader."""

    @property
    def answers(self) -> bool:
        """Whether it is ready and its newest probe succeeded."""
        return self.up is True and self.streak > 0


Members = Mapping[str, Member]
"""By server id."""


def of_known(known: Iterable[PooledServer]) -> Members:
    """Return the servers that an earlier process knew, in their states then.

    They count as probed, and as listed until the first list comes.
    """
    return {
        each.server.id: Member(each.server, up=each.state is not ServerState.FAILING)
        for each in known
    }


def untested(members: Members) -> bool:
    """Whether a server still waits for its first probe."""
    return any(member.up is None for member in members.values())
