"""What a round came to, for each proxy: what was done, not what should have been.

Rotation, log-out, the views, `wait` and READY believe this and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consul_ebpf.model.values import PlacedProxy, Vip


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a proxy is not, or not wholly, what it should be."""

    cause: str
    """In words, without the proxy's name: many proxies may share one."""
    effect: str = ""
    """What that means for this proxy; empty: it is not served."""
    fleeting: bool = False
    """Whether it is what each new proxy goes through for a moment: not logged."""

    def __str__(self) -> str:
        """`effect: cause`."""
        return f"{self.effect}: {self.cause}" if self.effect else self.cause


@dataclass(frozen=True, slots=True)
class Served:
    """A proxy that has a VIP in the kernel, and what its files hold."""

    placed: PlacedProxy
    token: str | None = field(default="", repr=False)
    """The secret in its token file: empty: none; None: one that is not known."""
    bootstrap: bool = False
    """Whether its bootstrap is on disk: this round's, or the last that could be."""
    complete: bool = True
    """Whether all that was to be written could be."""
    waiting: Trouble | None = None
    """Why its Envoy cannot start or connect yet."""
    trouble: Trouble | None = None
    """What went wrong while its Envoy goes on with what it has."""
    notes: tuple[str, ...] = ()
    """What was left out of its bootstrap, a line each."""

    @property
    def owner(self) -> str:
        """Where it was configured."""
        return self.placed.proxy.owner

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """All there are, the worst first."""
        return tuple(each for each in (self.waiting, self.trouble) if each)


@dataclass(frozen=True, slots=True)
class Refused:
    """A proxy that has no VIP in the kernel."""

    why: Trouble
    owner: str = ""
    """Where it was configured."""
    name: str = ""
    """What people call it, where that is known."""

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """The one there is."""
        return (self.why,)


Outcome = Served | Refused


@dataclass(frozen=True, slots=True)
class Converged:
    """What the newest inputs came to."""

    servers: int
    """Ready ones."""
    proxies: int
    """Programmed ones."""
    refused: int
    """Proxies whose Envoys cannot be served, or not yet; the log says why."""
    complete: bool = True
    """Whether every file was written; if not, the runner soon tries again."""
    outcomes: Mapping[str, Outcome] = field(default_factory=dict, repr=False)
    """By proxy key."""
    not_pruned: str = field(default="", repr=False)
    """Why the files of proxies that are gone could not be removed; empty: they are."""
    missing: tuple[str, ...] = field(default=(), repr=False)
    """What the controller lacks to serve all, a line each."""
    kept: tuple[Vip, ...] = field(default=(), repr=False)
    """VIPs left in the kernel of proxies that no source names, and none denies."""

    @property
    def placed(self) -> tuple[PlacedProxy, ...]:
        """The programmed proxies and their VIPs."""
        return tuple(
            each.placed for each in self.outcomes.values() if isinstance(each, Served)
        )

    @property
    def refusals(self) -> dict[str, str]:
        """Proxy key to why it is not served, or not yet, in one line."""
        return {
            key: line
            for key, outcome in self.outcomes.items()
            if (line := refusal(outcome))
        }


def name_of(key: str, outcome: Outcome) -> str:
    """Return what people call the proxy of this key."""
    if isinstance(outcome, Served):
        return outcome.placed.proxy.name
    return outcome.name or key


def refusal(outcome: Outcome) -> str:
    """Say why a proxy is not served, or not yet; empty: it is."""
    if isinstance(outcome, Refused):
        return str(outcome.why)
    return str(outcome.waiting or "")
