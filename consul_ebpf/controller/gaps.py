"""Finds out what is missing to serve all proxies."""

import asyncio
from collections.abc import Iterator

from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.following import lacking_of
from consul_ebpf.model.seams import WorkloadSource
from consul_ebpf.servers.pool import ServerPool

READY_SECONDS = 2.0
"""The controller is ready so long after its start, with whatever is known by then."""

LOOK_SECONDS = 1.0
"""Between two looks."""

NOBODY = "no server is known, so no proxy can be served"


class Gaps:
    """Fills `missing`, for the first time `READY_SECONDS` after the start.

    Args:
        pool: says whether its source has answered.
        source: says which proxies it does not know now.
        cells: the cells that it looks at, and `missing`.
        needs_tls: whether Envoys are to verify the servers.
    """

    def __init__(
        self,
        pool: ServerPool,
        source: WorkloadSource,
        cells: Cells,
        *,
        needs_tls: bool,
    ) -> None:
        self._pool = pool
        self._source = source
        self._cells = cells
        self._needs_tls = needs_tls

    def __repr__(self) -> str:
        return f"<Gaps {self._cells.missing.value}>"

    async def run(self) -> None:
        """Look, until cancelled."""
        await asyncio.sleep(READY_SECONDS)
        while True:
            self._cells.missing.set(tuple(self._lines()))
            await asyncio.sleep(LOOK_SECONDS)

    def _lines(self) -> Iterator[str]:
        cells = self._cells
        if not self._pool.answered:
            known = cells.servers.value is not None
            instead = "the last known servers are used" if known else NOBODY
            yield f"Consul has not answered yet: {instead}"
        elif cells.servers.value is None:
            yield f"the source of servers names none that can be used: {NOBODY}"
        if self._needs_tls and cells.tls.value is None:
            yield "the TLS files cannot be used yet: nothing can be served"
        if cells.named.value is None:
            yield "the sources of proxies have not answered yet"
        yield from lacking_of(self._source)
        for refusal in (cells.refusal.value, cells.dns_missing.value):
            if refusal:
                yield refusal
