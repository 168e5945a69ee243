"""Logs what is wrong; a trouble that many proxies share, once for all of them."""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.denials import with_denials
from consul_ebpf.controller.outcomes import (
    Converged,
    Outcome,
    Served,
    Trouble,
    name_of,
    refusal,
)
from consul_ebpf.controller.problems import ProblemFile, Problems, problems_of
from consul_ebpf.model.values import PooledServer
from consul_ebpf.proxies.params import Denied

logger = logging.getLogger(__name__)

NAMED = 5
"""Most proxies that one line names."""


class Reports:
    """Logs each result, then fills `outcome`, and keeps the problems for `status`.

    Args:
        done: the result of the newest round.
        missing: what is missing to serve all proxies.
        problems: keeps the problems; None: nothing does.
        outcome: is filled with both together.
        denied: the proxies whose tokens the servers refuse; None: nobody asks.
        pools: the servers and their states, by service.
        clock: returns Unix time.
    """

    def __init__(
        self,
        done: Latest[Converged],
        missing: Latest[tuple[str, ...]],
        problems: ProblemFile | None,
        outcome: Latest[Converged],
        *,
        denied: Latest[Denied] | None = None,
        pools: Mapping[str, Latest[tuple[PooledServer, ...]]] = MappingProxyType({}),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._done = done
        self._missing = missing
        self._problems = problems
        self._outcome = outcome
        self._denied: Latest[Denied] = denied or Latest()
        self._pools = pools
        self._clock = clock
        self._reporter = Reporter()

    def __repr__(self) -> str:
        return f"<Reports {self._reporter!r}>"

    async def run(self) -> None:
        """Report, until cancelled."""
        told = Problems()
        if self._problems is not None:
            told = await finish(self._problems.read)
        changes = Changes(
            self._done, self._missing, self._denied, *self._pools.values()
        )
        while True:
            await changes.wait()
            if self._done.value is None and self._missing.value is None:
                continue  # the first value says that the controller is ready
            done = self._done.value or Converged(0, 0, 0)
            outcomes = with_denials(done.outcomes, self._denied.value or Denied())
            missing = self._missing.value or ()
            now = replace(done, outcomes=outcomes, missing=missing)
            await finish(functools.partial(self._reporter.report, now))
            self._outcome.set(now)
            if self._problems is not None:  # last: a disk may hang
                told = problems_of(
                    now.outcomes, now.missing, told, self._clock(), self._silent()
                )
                await finish(functools.partial(self._problems.save, told))

    def _silent(self) -> list[str]:
        return [
            service
            for service, servers in self._pools.items()
            if any(each.silent for each in servers.value or ())
        ]


class Reporter:
    """Logs which troubles are new in a round's outcomes, and which have ended."""

    def __init__(self) -> None:
        self._said: dict[str, frozenset[str]] = {}
        """By cause, the keys of the proxies that have it."""
        self._notes: frozenset[str] = frozenset()
        self._outcomes: Mapping[str, Outcome] = {}
        """The outcomes that were reported last."""
        self._files = Reasons(logger, "files_failed")
        self._missing = Reasons(logger, "source_failed")

    def __repr__(self) -> str:
        return f"<Reporter {len(self._said)} troubles>"

    def report(self, done: Converged) -> None:
        """Log what is new: troubles, notes, what is missing, what could not be done."""
        self._missing.report(map(one_line, done.missing))
        self._files.report([done.not_pruned] if done.not_pruned else [])
        outcomes = done.outcomes
        if outcomes is self._outcomes:
            return
        self._outcomes = outcomes
        causes: dict[str, dict[str, Trouble]] = {}
        for key, outcome in outcomes.items():
            for trouble in outcome.troubles:
                if not trouble.fleeting:
                    causes.setdefault(trouble.cause, {})[key] = trouble
        for cause, theirs in causes.items():
            self._report_cause(cause, theirs, outcomes)
        standing = {cause: frozenset(theirs) for cause, theirs in causes.items()}
        before: set[str] = set().union(*self._said.values())
        for key in sorted(before - set().union(*standing.values())):
            if key in outcomes:
                name = name_of(key, outcomes[key])
                logger.info("no longer refused: proxy %s", one_line(name))
        self._said = standing
        self._report_notes(outcomes)

    def _report_cause(
        self, cause: str, theirs: Mapping[str, Trouble], outcomes: Mapping[str, Outcome]
    ) -> None:
        known = self._said.get(cause)
        new = [each for each in theirs if known is None or each not in known]
        if not new:
            return
        names = [name_of(each, outcomes[each]) for each in new]
        if known:
            logger.info("as said before of other proxies: %s", _listed(names))
            return
        first, others = new[0], names[1:]
        more = f" and {len(others)} more ({_listed(others)})" if others else ""
        logger.error(
            "%sproxy %s%s%s: %s",
            "not served: " if refusal(outcomes[first]) else "",
            one_line(names[0]),
            _owner(outcomes[first]),
            more,
            one_line(theirs[first]),
            extra=event("proxy_refused"),
        )

    def _report_notes(self, outcomes: Mapping[str, Outcome]) -> None:
        """Log the values that were left out, each once for all its proxies."""
        notes: dict[str, list[str]] = {}
        for key, outcome in outcomes.items():
            if isinstance(outcome, Served):
                for note in outcome.notes:
                    notes.setdefault(note, []).append(name_of(key, outcome))
        for note, names in notes.items():
            if note not in self._notes:
                logger.warning(
                    "left out of bootstraps (%s): %s", _listed(names), one_line(note)
                )
        self._notes = frozenset(notes)


def _owner(outcome: Outcome) -> str:
    return f" ({one_line(outcome.owner)})" if outcome.owner else ""


def _listed(proxies: Iterable[str]) -> str:
    """Return the names of at most `NAMED` proxies, and how many more there are."""
    names = [one_line(each, 80) for each in proxies]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
