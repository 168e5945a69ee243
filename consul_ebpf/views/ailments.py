"""What to make of a host: whether it is well, what is wrong, and what to do."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Level(enum.StrEnum):
    """How well a host is, the best first."""

    OK = "ok"
    """All is as it should be."""
    DEGRADED = "degraded"
    """What runs goes on, and somebody should look before more goes wrong."""
    FAILING = "failing"
    """Proxies cannot connect, or some are not served."""


MEANINGS: Mapping[Level, str] = {
    Level.OK: "nothing is to be done",
    Level.DEGRADED: "what runs goes on: look at it in the daytime",
    Level.FAILING: "proxies cannot connect, or some are not served: look at it now",
}
"""Whether somebody must do anything, by level."""


@dataclass(frozen=True, slots=True)
class Ailment:
    """One thing that is wrong."""

    level: Level
    what: str
    """What is wrong, with which."""
    do: str
    """What to do about it."""
    since: float = 0.0
    """Unix time since which it is so; 0: not known."""
    means: str = ""
    """What it means for the proxies; empty: `what` says it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to make of a host."""

    level: Level = Level.OK
    summary: str = ""
    """One line: how many servers are ready, how many proxies connected."""
    ailments: list[Ailment] = field(default_factory=list)
    """The worst first."""
