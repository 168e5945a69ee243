"""Gives back the memory that rounds have used for a moment; settles what stays."""

from collections.abc import Callable

from consul_ebpf.base import code_pages, heap
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.outcomes import Converged

QUIET_SECONDS = 5.0
"""After so long without another outcome, memory is given back."""


def settle() -> None:
    """Do once what is worth it when the start is over. Blocking, for milliseconds."""
    heap.settle()
    code_pages.give_back()


class Trimmer:
    """Follows the outcomes; at a start many proxies come, and files are rendered."""

    def __init__(
        self,
        outcome: Latest[Converged],
        give_back: Callable[[], None] = heap.give_back,
        settle: Callable[[], None] = settle,
    ) -> None:
        self._outcome = outcome
        self._give_back = give_back
        self._settle = settle

    def __repr__(self) -> str:
        return f"<Trimmer {self._outcome.version} outcomes>"

    async def run(self) -> None:
        """Follow, until cancelled."""
        changes, settled = Changes(self._outcome), False
        while True:
            await changes.wait()
            while await changes.wait(QUIET_SECONDS):
                pass
            await finish(self._give_back)
            if not settled:
                settled = True
                await finish(self._settle)
