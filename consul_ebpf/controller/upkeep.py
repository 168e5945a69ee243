"""Puts back what others have removed from the kernel."""

import asyncio
import logging

from consul_ebpf.base.events import event
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.errors import KernelError

logger = logging.getLogger(__name__)

UPKEEP_SECONDS = 2.0
"""Between two looks at what is attached and pinned."""


class Upkeep:
    """Checks the tables every `UPKEEP_SECONDS`, and logs what it puts back.

    Args:
        tables: the tables to check.
        prefix: the start of each log line, to tell these tables from others.
    """

    def __init__(self, tables: Tables, *, prefix: str = "") -> None:
        self._tables = tables
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"<Upkeep {self._tables!r}>"

    async def run(self) -> None:
        """Look, until cancelled."""
        reasons = Reasons(logger, "kernel_refused")
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            try:
                mended = await self._tables.mend()
            except KernelError as error:
                reasons.report((f"{self._prefix}{error}",))
                continue
            reasons.report(())
            for line in mended:
                logger.warning("%s%s", self._prefix, line, extra=event("mended"))
