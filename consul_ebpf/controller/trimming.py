"""Gives back the memory that rounds have used for a moment."""

from collections.abc import Callable

from consul_ebpf.base import heap
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.outcomes import Converged

QUIET_SECONDS = 5.0
"""After so long without another outcome, memory is given back."""


class Trimmer:
    """Follows the outcomes; at a start many proxies come, and files are rendered."""

    def __init__(
        self,
        outcome: Latest[Converged],
        give_back: Callable[[], None] = heap.give_back,
    ) -> None:
        self._outcome = outcome
        self._give_back = give_back

    def __repr__(self) -> str:
        return f"<Trimmer {self._outcome.version} outcomes>"

    async def run(self) -> None:
        """Follow, until cancelled."""
        changes = Changes(self._outcome)
        while True:
            await changes.wait()
            while await changes.wait(QUIET_SECONDS):
                pass
            await finish(self._give_back)
