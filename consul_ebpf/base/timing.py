"""Counts and durations of the controller's own work, for its metrics.

    with timed("apply"): ...
    count("connection_errors", "UNAVAILABLE")

There is one set for the process, as with logging: code that counts something does not
need to know who reads it.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

Work = Literal[
    "discovery", "probe", "plan", "apply", "render", "login", "central", "publish"
]
"""Kinds of work whose time is measured."""

Counted = Literal["connection_errors", "moved_from", "moved"]
"""Kinds of things that are counted, each by a label."""


@dataclass(frozen=True, slots=True)
class Duration:
    """How often a kind of work was done, and how long it took."""

    count: int = 0
    seconds: float = 0.0
    """Their sum."""
    last: float = 0.0
    """Unix time of the newest end; 0: never."""


class _Observations:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.durations: dict[Work, Duration] = {}
        self.counts: dict[Counted, Counter[str]] = {}

    def add(self, work: Work, seconds: float) -> None:
        with self._lock:
            before = self.durations.get(work, Duration())
            self.durations[work] = replace(
                before,
                count=before.count + 1,
                seconds=before.seconds + seconds,
                last=time.time(),
            )

    def touch(self, work: Work) -> None:
        with self._lock:
            before = self.durations.get(work, Duration())
            self.durations[work] = replace(before, last=time.time())

    def count(self, what: Counted, label: str, number: int) -> None:
        with self._lock:
            self.counts.setdefault(what, Counter())[label] += number


_ALL = _Observations()


def observe(work: Work, seconds: float) -> None:
    """Note that work was done, and how many seconds it took."""
    _ALL.add(work, seconds)


def done(work: Work) -> None:
    """Note that work was done whose duration means nothing, like a blocking query's."""
    _ALL.touch(work)


@contextmanager
def timed(work: Work) -> Iterator[None]:
    """Note how long the block takes, unless it raises."""
    begun = time.perf_counter()
    yield
    observe(work, time.perf_counter() - begun)


def count(what: Counted, label: str, number: int = 1) -> None:
    """Count something that happened."""
    _ALL.count(what, label, number)


def durations() -> dict[Work, Duration]:
    """Return all that was done so far."""
    return dict(_ALL.durations)


def counts(what: Counted) -> dict[str, int]:
    """Return what was counted so far, by label."""
    return dict(_ALL.counts.get(what, {}))
