"""An in-memory `MapBackend`: the kernel's tables as dicts, and its choice of server."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from consul_ebpf.kernel.diff import diff
from consul_ebpf.model.errors import TableFullError
from consul_ebpf.model.seams import Applied
from consul_ebpf.model.values import (
    KernelState,
    Preference,
    Server,
    ServerCounters,
    ServerState,
    SlottedServer,
    Table,
    Vip,
    VipCounters,
)

RECENT = 4
"""Newest connects that are remembered of each VIP."""


@dataclass
class _Row:
    """What the kernel counts for one VIP."""

    cursor: int = 0
    last: float | None = None
    """When the newest connect was; None: the next one goes where the cursor is."""
    connects: int = 0
    failures: int = 0
    recent: list[tuple[int, int]] = field(default_factory=list)
    """Newest connects as (socket cookie, slot), the newest last."""

    def follow(self, before: Preference, after: Preference) -> None:
        """Stay with the server in use, unless the first choice is a new one."""
        in_use = before[self.cursor] if self.cursor < len(before) else None
        if before[:1] == after[:1] and in_use in after:
            self.cursor = after.index(in_use)
        else:
            self.cursor, self.last = 0, None

    @property
    def counters(self) -> VipCounters:
        return VipCounters(
            connects=self.connects,
            current=self.recent[-1][1] if self.recent else None,
            sockets=tuple(self.recent),
            failures=self.failures,
            newest=self.last or 0.0,
        )


class MemoryMapBackend:
    """Holds the tables it is given. No socket is redirected; `connect` simulates one.

    `applied` lists what each `apply` wrote, newest last. Set `failure` to make the next
    `apply` raise it, like a kernel that refuses a write.
    """

    def __init__(
        self,
        capacity: int = 65536,
        table: Table | None = None,
        *,
        retry_window: float = 35.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with `table`, as if an earlier process had left it.

        Args:
            capacity: how many VIPs fit.
            table: what the tables hold already.
            retry_window: seconds, as `kernel.retry_window`.
            clock: returns seconds.
        """
        self._capacity = capacity
        self._table = table or Table()
        self._window = retry_window
        self._clock = clock
        self._rows: dict[Vip, _Row] = {}
        self._connects: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()
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

    def apply(self, table: Table, among: Collection[Vip] | None = None) -> Applied:
        """Make the tables equal `table`."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if len(table.vips) > self._capacity:
            raise TableFullError(
                f"{len(table.vips)} proxies do not fit a table of {self._capacity}"
            )
        changes = diff(self._table, table, among)
        self._carry(table)
        self._table = table
        self.applied.append(changes.applied)
        return self.applied[-1]

    def _carry(self, table: Table) -> None:
        """Keep the counters of what stays."""
        old = self._table
        if old.vips is not table.vips:
            self._rows = {v: row for v, row in self._rows.items() if v in table.vips}
            for vip, row in self._rows.items():
                if old.vips[vip] != table.vips[vip]:
                    row.follow(old.vips[vip], table.vips[vip])
        for slot in set(old.servers) | set(table.servers):
            before, after = old.servers.get(slot), table.servers.get(slot)
            if not before or not after or before.endpoint != after.endpoint:
                del self._connects[slot], self._failures[slot]

    def connect(self, vip: Vip, cookie: int = 0) -> int | None:
        """Do what the eBPF program does when a proxy connects to its VIP.

        Returns:
            The slot of the chosen server; None: the connect is refused.
        """
        preference = self._table.vips.get(vip)
        if preference is None:
            return None
        row, now = self._rows.setdefault(vip, _Row()), self._clock()
        if row.last is not None:
            if now - row.last < self._window:
                row.failures += 1
                self._failures.update(preference[row.cursor : row.cursor + 1])
            row.cursor += 1
        for at in range(row.cursor, row.cursor + len(preference)):
            slot = preference[at % len(preference)]
            server = self._table.servers.get(slot)
            if server is None or server.state is not ServerState.READY:
                continue
            row.cursor, row.last = at % len(preference), now
            row.connects += 1
            row.recent = [*row.recent, (cookie, slot)][-RECENT:]
            self._connects[slot] += 1
            return slot
        row.last = None
        return None

    def read(self) -> KernelState:
        """Return the tables; as in the kernel, servers have no id and no name."""
        rows = {}
        for slot, entry in self._table.servers.items():
            ipv4, ipv6, port = entry.endpoint
            server = Server(f"slot {slot}", port, ipv4, ipv6)
            rows[slot] = SlottedServer(slot, server, entry.state)
        return KernelState(
            table=Table(rows, dict(self._table.vips), dict(self._table.bindings)),
            servers={
                slot: ServerCounters(self._connects[slot], self._failures[slot])
                for slot in rows
            },
            vips={
                vip: row.counters if (row := self._rows.get(vip)) else _UNUSED
                for vip in self._table.vips
            },
            capacity=self.capacity,
        )

    def stay(self, vips: Iterable[Vip]) -> None:
        """Do so, and add the VIPs to `stayed`."""
        for vip in vips:
            self.stayed.append(vip)
            self._rows.get(vip, _NEW).last = None

    def mend(self) -> tuple[str, ...]:
        """Return and empty `broken`, the lines that a test put there."""
        mended, self.broken = self.broken, ()
        return mended

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


_NEW = _Row()
_UNUSED = _NEW.counters
