"""Waits until the kernel has a proxy's VIP, or has it no more."""

import asyncio

from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.outcomes import Outcome, Refused, Served


class Programmed:
    """Reads what the rounds did."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def __repr__(self) -> str:
        return f"<Programmed {self.version} rounds>"

    @property
    def version(self) -> int:
        """Counts the rounds' results; what an older one says of a proxy is too old."""
        return self._cells.done.version

    async def why_not(self, key: str, since: int, seconds: float) -> str:
        """Wait until a proxy's VIP is in the kernel; empty: it is.

        Args:
            key: the proxy's.
            since: `version` before the proxy was named.
            seconds: after so long, return the reason.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    version = self.version
                    outcome = self._outcome(key) if version > since else None
                    if isinstance(outcome, Served):
                        return ""
                    if isinstance(outcome, Refused):
                        return str(outcome.why)
                    await self._cells.done.changed_since(version, None)
        except TimeoutError:
            # The round that saw it may have had the same result as the one before.
            if isinstance(self._outcome(key), Served):
                return ""
            return self._reason(seconds)

    async def is_gone(self, key: str, since: int, seconds: float) -> bool:
        """Wait until a round without the proxy is done; False after so long.

        Before the first round, the kernel may have its VIP from an earlier process.
        """
        if self.version and self._outcome(key) is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                while self.version <= since or self._outcome(key) is not None:
                    await self._cells.done.changed_since(self.version, None)
        except TimeoutError:
            return False
        return True

    def _outcome(self, key: str) -> Outcome | None:
        done = self._cells.done.value
        return done.outcomes.get(key) if done else None

    def _reason(self, seconds: float) -> str:
        cells = self._cells
        missing = "; ".join(cells.missing.value or ())
        if cells.refusal.value:
            return cells.refusal.value
        if not cells.servers.value:
            return f"no Consul server answered yet ({missing or 'none is known'})"
        return (
            f"the kernel has not got the pod's VIP within {seconds:g} s"
            f" ({missing or 'the log may say why'})"
        )
