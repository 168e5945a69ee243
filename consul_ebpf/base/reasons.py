"""Logs a standing problem once, not each time it is seen."""

import logging
from collections.abc import Iterable

from consul_ebpf.base.events import Event, event

SHOWN = 5


class Reasons:
    """Remembers the problems that stand, and logs those that are new."""

    def __init__(self, logger: logging.Logger, name: Event) -> None:
        self._logger = logger
        self._event = event(name)
        self._standing: frozenset[str] = frozenset()

    def report(self, reasons: Iterable[str]) -> None:
        """Take all problems that stand now; log the new ones, at most `SHOWN` whole."""
        standing = frozenset(reasons)
        new = sorted(standing - self._standing)
        for reason in new[:SHOWN]:
            self._logger.warning("%s", reason, extra=self._event)
        if len(new) > SHOWN:
            self._logger.warning("%d more such entries", len(new) - SHOWN)
        self._standing = standing
