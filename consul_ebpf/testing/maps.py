"""An in-memory `MapBackend`: the kernel's two tables as dicts."""

from collections.abc import Iterable
from dataclasses import replace

from consul_ebpf.kernel.diff import diff
from consul_ebpf.model.errors import TableFullError
from consul_ebpf.model.seams import Applied
from consul_ebpf.model.values import (
    KernelState,
    ServerCounters,
    Table,
    Vip,
    VipCounters,
)


class MemoryMapBackend:
    """Holds what it is given; nothing is redirected.

    `applied` lists what each `apply` wrote, newest last. Set `failure` to make the
    next `apply` raise it, as a kernel that refuses a write.
    """

    def __init__(self, capacity: int = 65536, table: Table | None = None) -> None:
        """Start with `table`, as if an earlier process had left it."""
        self._capacity = capacity
        self._table = table or Table()
        self.applied: list[Applied] = []
        self.failure: Exception | None = None
        self.broken: tuple[str, ...] = ()
        self.closed = False
        self.stayed: list[Vip] = []

    def __repr__(self) -> str:
        table = self._table
        return (
            f"<MemoryMapBackend {len(table.servers)} servers, {len(table.vips)} VIPs>"
        )

    @property
    def capacity(self) -> int:
        """How many VIPs fit."""
        return self._capacity

    def apply(self, table: Table) -> Applied:
        """Make the tables equal `table`."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if len(table.vips) > self._capacity:
            raise TableFullError(
                f"{len(table.vips)} proxies do not fit a table of {self._capacity}"
            )
        changes = diff(self._table, table)
        self._table = table
        self.applied.append(changes.applied)
        return self.applied[-1]

    def read(self) -> KernelState:
        """Return the tables; like the kernel, without the servers' names and ids."""
        rows = {
            slot: replace(
                entry,
                server=replace(entry.server, id=f"slot {slot}", name="", version=""),
            )
            for slot, entry in self._table.servers.items()
        }
        return KernelState(
            table=Table(rows, dict(self._table.vips), dict(self._table.bindings)),
            servers=dict.fromkeys(rows, ServerCounters()),
            vips=dict.fromkeys(self._table.vips, VipCounters()),
        )

    def stay(self, vips: Iterable[Vip]) -> None:
        """Remember for whom, in `stayed`."""
        self.stayed.extend(vips)

    def mend(self) -> tuple[str, ...]:
        """Return and forget `broken`: lines a test has put there."""
        mended, self.broken = self.broken, ()
        return mended

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True
