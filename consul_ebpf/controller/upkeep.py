"""Put back what others took away from the kernel."""

import asyncio
import logging

from consul_ebpf.base.events import event
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.errors import KernelError

logger = logging.getLogger(__name__)

UPKEEP_SECONDS = 2.0
"""Between looks at what is attached and pinned."""


class Upkeep:
    """Looks again and again, and says what it put back.

    Args:
        tables: what is looked at.
        prefix: begins each line, where there are other tables, too.
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
