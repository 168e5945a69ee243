"""Serves DNS by a second pair of tables, with one VIP and the servers' DNS ports.

It uses the same parts as the proxies do, with cells of its own. If one of them fails it
is started again, and the proxies are served all the same.
"""

import logging

from consul_ebpf.base.filling import fill_from
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.retry import growing
from consul_ebpf.base.tasks import Work, keep_all_running
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.cutting import Cutter
from consul_ebpf.controller.kernel_table import KernelTable
from consul_ebpf.controller.states import ServerStates
from consul_ebpf.controller.tables import Tables
from consul_ebpf.controller.upkeep import Upkeep
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.seams import MapBackend, Namespaces
from consul_ebpf.model.values import Binding, PooledServer, ServerState, Vip
from consul_ebpf.servers.pool import ServerPool

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 30.0
"""Until a table that the kernel refused is written again; it doubles each time."""


class DnsService:
    """Keeps the tables of DNS up to date.

    Args:
        pool: the servers with the states of their DNS; this starts it.
        backend: the opened tables; the caller closes it after `run`.
        vip: the VIP that resolvers ask.
        seed: different on each host, the same after a restart.
        namespaces: cuts connections to dead servers; None: none are cut.
        progress: notes which work is under way.
        missing: is filled with a line that says why queries are not answered; empty:
            they are.
        pooled: is filled with the servers and the states of their DNS.
    """

    def __init__(
        self,
        pool: ServerPool,
        backend: MapBackend,
        vip: Vip,
        *,
        seed: str = "",
        namespaces: Namespaces | None = None,
        progress: Progress | None = None,
        missing: Latest[str] | None = None,
        pooled: Latest[tuple[PooledServer, ...]] | None = None,
    ) -> None:
        self._pool = pool
        self._bound = {vip: Binding()}
        self._vip = vip
        self._kernel = KernelTable(backend, seed)
        self._cells = cells = Cells(pooled=pooled or Latest())
        self.tables = Tables(self._kernel, progress or Progress(), cells.rows)
        """The kernel's tables of DNS."""
        self._missing = Latest() if missing is None else missing
        states = ServerStates(self.tables, cells.pooled, cells.servers)
        cutter = Cutter(
            self.tables,
            cells.servers,
            cells.rows,
            namespaces,
            users="resolvers",
            instead="a resolver that keeps a connection has its own timeout",
        )
        self._parts: dict[str, Work] = {
            "DNS servers": lambda: fill_from(
                pool, cells.pooled, name="the pool of DNS"
            ),
            "DNS server states": states.run,
            "DNS tables": self._program,
            "DNS upkeep": Upkeep(self.tables, prefix="DNS: ").run,
            "DNS cuts": cutter.run,
        }

    def __repr__(self) -> str:
        return f"<DnsService {self._vip} {self._pool!r}>"

    async def run(self) -> None:
        """Serve, until cancelled."""
        await finish(self._kernel.resume)
        await keep_all_running(self._parts)

    async def _program(self) -> None:
        """Write whatever changes but states, which `ServerStates` writes."""
        reasons = Reasons(logger, "kernel_refused")
        servers = self._cells.servers
        changes, failures = Changes(servers), 0
        again: float | None = None
        while True:
            await changes.wait(again)
            try:
                planned = self._kernel.prepare(servers.value or (), self._bound)
                await self.tables.program(planned)
            except KernelError as error:
                refusal = f"DNS: {error}"
                again = growing(failures, FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
                failures += 1
            else:
                refusal, again, failures = "", None, 0
            reasons.report((refusal,) if refusal else ())
            self._missing.set(refusal or self._unanswered())

    def _unanswered(self) -> str:
        rows = self._kernel.table.servers.values()
        if any(row.state is ServerState.READY for row in rows):
            return ""
        why = "no server's DNS port answers" if rows else "no server is known"
        return f"DNS: {why}, so queries to {self._vip} fail"
