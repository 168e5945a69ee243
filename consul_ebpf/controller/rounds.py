"""Runs a round with the newest inputs after each change."""

import asyncio
import logging

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity import wait_exponential_jitter as exponential_jitter

from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.base.threads import finish, to_end
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.round import Converger
from consul_ebpf.controller.tables import Tables
from consul_ebpf.kernel.pods import UNBOUND
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.token_keys import Tokens
from consul_ebpf.proxies.params import Params

logger = logging.getLogger(__name__)

FILES_AGAIN_SECONDS = 5.0
"""Until files that could not be written are written again."""

REFUSAL = "the kernel does not take the newest table, as the log says"


class Rounds:
    """Fills `done` after each round, and `refusal`.

    Args:
        converger: does the work of a round.
        tables: the kernel's tables.
        cells: the inputs of a round, and its result.
        tokens: the proxies' ACL tokens; None: the servers ask for none.
        params: what Consul says of the bootstraps; None: it is not asked.
        needs_tls: whether Envoys are to verify the servers.
        progress: notes which work is under way.
    """

    def __init__(
        self,
        converger: Converger,
        tables: Tables,
        cells: Cells,
        *,
        tokens: Latest[Tokens] | None,
        params: Latest[Params] | None,
        needs_tls: bool,
        progress: Progress,
    ) -> None:
        self._converger = converger
        self._tables = tables
        self._cells = cells
        self._tokens = tokens
        self._params = params
        self._needs_tls = needs_tls
        self._progress = progress

    def __repr__(self) -> str:
        return f"<Rounds {self._converger!r}>"

    async def run(self) -> None:
        """Run rounds until cancelled; if the kernel refuses, repeat the round."""
        cells = self._cells
        read = (cells.servers, cells.proxies, cells.bindings, cells.tls, cells.wrong)
        asked = (cell for cell in (self._tokens, self._params) if cell is not None)
        changes = Changes(*read, *asked)
        insist = AsyncRetrying(
            retry=retry_if_exception_type(KernelError),
            wait=exponential_jitter(initial=0.5, max=30),
            before_sleep=self._note_refusal,
        )
        again = None
        while True:
            await changes.wait(again)
            done: Converged | None = await insist(self._carry_out_newest)
            if done is not None:
                cells.refusal.set("")
                cells.done.set(done)
                again = None if done.complete else FILES_AGAIN_SECONDS

    def _inputs(self) -> Inputs | None:
        """Return the newest inputs; None while one that a round needs is missing."""
        cells = self._cells
        tls, host = cells.tls.value, cells.proxies.value
        if host is None or (self._needs_tls and tls is None):
            return None
        inputs = Inputs(
            cells.servers.value,
            host.proxies,
            host.lacking,
            self._tokens.value if self._tokens else None,
            self._params.value if self._params else None,
            tls,
            cells.bindings.value or UNBOUND,
            cells.wrong.value,
        )
        return inputs if inputs.complete else None

    async def _carry_out_newest(self) -> Converged | None:
        inputs = self._inputs()
        if inputs is None:
            return None
        # To its end even when cancelled, so that tables and files agree.
        return await to_end(asyncio.ensure_future(self._carry_out(inputs)))

    async def _carry_out(self, inputs: Inputs) -> Converged:
        """Run a round; it keeps others from the tables only while it programs."""
        converger = self._converger
        with self._progress.working("planning a round"):
            prepared = await finish(lambda: converger.prepare(inputs))
        applied = await self._tables.program(prepared.planned)
        with self._progress.working("writing files") as step:
            return await finish(lambda: converger.complete(prepared, applied, step))

    def _note_refusal(self, state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        self._cells.refusal.set(REFUSAL)
        logger.warning(
            "%s (attempt %d)",
            error,
            state.attempt_number,
            extra=event("kernel_refused"),
        )
