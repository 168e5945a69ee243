"""Which proxies went to another server: seen by looking every other second."""

from collections.abc import Mapping

from consul_ebpf.base.timing import count
from consul_ebpf.model.values import KernelState, Vip


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
