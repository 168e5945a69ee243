"""Finds out which proxies connected again, and which of them to another server.

It compares the kernel's counters every two seconds.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.timing import count
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import (
    KernelState,
    PlacedProxy,
    Table,
    Vip,
    VipCounters,
)

LOOK_SECONDS = 2.0
"""Between two looks; longer if there are many proxies."""

LOOKED_AT_PER_SECOND = 500
"""Most VIPs to look at, on average."""


class Reconnects:
    """Fills `reconnected` for the proxies in the kernel, and counts the moves.

    What it read of the tables is in `looked`, for others who compare, too.
    """

    def __init__(
        self,
        tables: Tables,
        outcome: Latest[Converged],
        reconnected: Latest[Mapping[str, int]],
        looked: Latest[KernelState],
    ) -> None:
        self._tables = tables
        self._outcome = outcome
        self._reconnected = reconnected
        self._looked = looked
        self._moves = Moves()

    def __repr__(self) -> str:
        return f"<Reconnects {self._moves!r}>"

    async def run(self) -> None:
        """Look, until cancelled."""
        pause = LOOK_SECONDS
        while True:
            await asyncio.sleep(pause)
            with contextlib.suppress(KernelError):  # `Upkeep` logs it
                read = await self._tables.read()
                self._looked.set(read)
                again = self._moves.see(read)
                done = self._outcome.value
                if again and done is not None:
                    self._note(again, done.placed)
            pause = max(LOOK_SECONDS, len(self._moves) / LOOKED_AT_PER_SECOND)

    def _note(self, again: Mapping[Vip, str], placed: Iterable[PlacedProxy]) -> None:
        proxies = {each.vip: each.proxy for each in placed}
        for vip, left in again.items():
            if left:
                count("moved", proxies[vip].name if vip in proxies else str(vip))
                count("moved_from", left)
        before = self._reconnected.value or {}
        times = {
            proxy.key: before.get(proxy.key, 0) + (vip in again)
            for vip, proxy in proxies.items()
        }
        self._reconnected.set({key: often for key, often in times.items() if often})


class Moves:
    """Compares each state of the kernel with the one before."""

    def __init__(self) -> None:
        self._last = KernelState(Table(), {}, {})

    def __repr__(self) -> str:
        return f"<Moves {len(self)} VIPs>"

    def __len__(self) -> int:
        """How many VIPs were there at the last look."""
        return len(self._last.vips)

    def see(self, state: KernelState) -> dict[Vip, str]:
        """Return the VIPs whose proxies connected again since the last look.

        The value is the server that the proxy left; empty: it did not change servers.
        An Envoy's first connect is none again: a hundred pods that start together are
        no reason to check a hundred tokens.
        """
        last, self._last = self._last, state
        if state.vips is last.vips:
            return {}
        again = {}
        for vip, now in state.vips.items():
            before = last.vips.get(vip, now)
            if now.connects > max(before.connects, 1):
                left = _server(last, before)
                again[vip] = "" if left == _server(state, now) else left
        return again


def _server(state: KernelState, counters: VipCounters) -> str:
    """Return the server of a VIP's newest connect; empty: it is no longer known."""
    slot = counters.current
    row = None if slot is None else state.table.servers.get(slot)
    return row.server.endpoint if row else ""
