"""Which proxies connected anew, and which went to another server.

Seen by looking at the kernel's counters every other second.
"""

import asyncio
import contextlib
from collections.abc import Mapping

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.timing import count
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import KernelState, Vip

LOOK_SECONDS = 2.0
"""Between looks; more where there are many proxies."""

LOOKED_AT_PER_SECOND = 500


class Reconnects:
    """Fills `reconnected`, of the proxies that are programmed; counts the moves."""

    def __init__(
        self,
        tables: Tables,
        outcome: Latest[Converged],
        reconnected: Latest[Mapping[str, int]],
    ) -> None:
        self._tables = tables
        self._outcome = outcome
        self._reconnected = reconnected
        self._moves = Moves()

    def __repr__(self) -> str:
        return f"<Reconnects {self._moves!r}>"

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            done = self._outcome.value
            placed = done.placed if done else ()
            await asyncio.sleep(max(LOOK_SECONDS, len(placed) / LOOKED_AT_PER_SECOND))
            names = {each.vip: each.proxy.name for each in placed}
            with contextlib.suppress(KernelError):  # the upkeep says so
                again = frozenset(self._moves.see(await self._tables.read(), names))
                before = self._reconnected.value or {}
                self._reconnected.set(
                    {
                        each.proxy.key: times + (each.vip in again)
                        for each in placed
                        if (times := before.get(each.proxy.key, 0)) or each.vip in again
                    }
                )


class Moves:
    """Compares each look with the last."""

    def __init__(self) -> None:
        self._last: dict[Vip, tuple[int, str]] = {}

    def __repr__(self) -> str:
        return f"<Moves {len(self._last)} VIPs>"

    def see(self, state: KernelState, ids: Mapping[Vip, str]) -> tuple[Vip, ...]:
        """Count the moves since the last look; return the VIPs that connected anew.

        `ids` are the proxies', by VIP.
        """
        now, again = {}, []
        for vip, counters in state.vips.items():
            row = state.table.servers.get(
                -1 if counters.current is None else counters.current
            )
            where = row.server.endpoint if row else ""
            now[vip] = counters.connects, where
            connects, before = self._last.get(vip, (counters.connects, where))
            if counters.connects <= connects:
                continue
            again.append(vip)
            if before and where != before:
                count("moved", ids.get(vip, str(vip)))
                count("moved_from", before)
        self._last = now
        return tuple(again)
