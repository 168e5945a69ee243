"""Notices work that is stuck."""

import asyncio
import logging

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.base.reasons import Reasons

logger = logging.getLogger(__name__)

PING_SECONDS = 2.0
"""Between two pings."""

STUCK_SECONDS = 30.0
"""Work that has not progressed for so long is stuck, and the pings stop."""


class Watchdog:
    """Fills `alive` as long as no work is stuck, and logs which work is."""

    def __init__(self, progress: Progress, alive: Latest[int]) -> None:
        self._progress = progress
        self._alive = alive

    def __repr__(self) -> str:
        return f"<Watchdog {self._progress!r}>"

    async def run(self) -> None:
        """Look, until cancelled."""
        reasons = Reasons(logger, "stuck")
        while True:
            await asyncio.sleep(PING_SECONDS)
            stuck = self._progress.stuck(STUCK_SECONDS)
            reasons.report(
                f"{each} has not gone on for {STUCK_SECONDS:g} s" for each in stuck
            )
            if not stuck:
                self._alive.set(self._alive.version + 1)
