"""The result of a round for each proxy: what was really done.

Rotation, log-out, the views, `wait` and READY rely on this and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consul_ebpf.model.values import PlacedProxy, Vip


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a proxy is not served, or not as it should be."""

    cause: str
    """The reason, without the proxy's name: many proxies may have the same."""
    effect: str = ""
    """What that means for this proxy; empty: it is not served."""
    fleeting: bool = False
    """Whether every new proxy has it for a moment. Then it is not logged."""
    means: str = ""
    """What follows from it for its Envoy, if `effect` does not say it."""
    do: str = ""
    """What to do about it; empty: the log says more."""

    def __str__(self) -> str:
        """`effect: cause`."""
        return f"{self.effect}: {self.cause}" if self.effect else self.cause


@dataclass(frozen=True, slots=True)
class Served:
    """A proxy whose VIP is in the kernel, and what its files hold."""

    placed: PlacedProxy
    token: str | None = field(default="", repr=False)
    """The secret in its token file; empty: there is none; None: it is not known."""
    bootstrap: bool = False
    """Whether a bootstrap is on disk: this round's or an earlier one's."""
    complete: bool = True
    """Whether all its files could be written."""
    waiting: Trouble | None = None
    """Why its Envoy cannot start or connect yet."""
    trouble: Trouble | None = None
    """What went wrong, while its Envoy goes on with what it has."""
    denied: Trouble | None = None
    """Why the servers refuse its token; beside other trouble, not in its place."""
    notes: tuple[str, ...] = ()
    """One line for each value that was left out of its bootstrap."""

    @property
    def owner(self) -> str:
        """Where it was configured."""
        return self.placed.proxy.owner

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """All its troubles, the worst first."""
        found = (self.waiting, self.trouble, self.denied)
        return tuple(each for each in found if each)


@dataclass(frozen=True, slots=True)
class Refused:
    """A proxy that has no VIP in the kernel."""

    why: Trouble
    owner: str = ""
    """Where it was configured."""
    name: str = ""
    """Its name for messages; empty: not known."""

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Its one trouble."""
        return (self.why,)


Outcome = Served | Refused


@dataclass(frozen=True, slots=True)
class Converged:
    """The result of a round."""

    servers: int
    """How many servers are ready."""
    proxies: int
    """How many proxies are in the kernel."""
    refused: int
    """How many proxies are not served, or not yet; the log says why."""
    complete: bool = True
    """Whether every file was written; if not, another round soon tries again."""
    outcomes: Mapping[str, Outcome] = field(default_factory=dict, repr=False)
    """By proxy key."""
    not_pruned: str = field(default="", repr=False)
    """Why files of proxies that are gone could not be removed; empty: all were."""
    missing: tuple[str, ...] = field(default=(), repr=False)
    """One line for each thing that is missing to serve all proxies."""
    kept: tuple[Vip, ...] = field(default=(), repr=False)
    """VIPs that stay in the kernel although no source names their proxies: a source
    cannot tell whether they still exist."""

    @property
    def placed(self) -> tuple[PlacedProxy, ...]:
        """The proxies in the kernel, with their VIPs."""
        return tuple(
            each.placed for each in self.outcomes.values() if isinstance(each, Served)
        )

    @property
    def refusals(self) -> dict[str, str]:
        """Why each proxy that is not served, or not yet, is not, by proxy key."""
        return {
            key: line
            for key, outcome in self.outcomes.items()
            if (line := refusal(outcome))
        }


def name_of(key: str, outcome: Outcome) -> str:
    """Return the name of a proxy for messages."""
    if isinstance(outcome, Served):
        return outcome.placed.proxy.name
    return outcome.name or key


def refusal(outcome: Outcome) -> str:
    """Say why a proxy is not served, or not yet; empty: it is."""
    if isinstance(outcome, Refused):
        return str(outcome.why)
    return str(outcome.waiting or "")
