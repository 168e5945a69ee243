"""Keeps the timeline of this host on disk while the controller runs."""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.model.values import KernelState, SlottedServer, Table, Vip
from consul_ebpf.views.happenings import Happening, Look
from consul_ebpf.views.timeline import (
    KEPT,
    Timeline,
    TimelineFile,
    catch_up,
    follow,
    together,
)

LOOK_SECONDS = 2.0
"""Between two looks at the counts of events, if nothing else changes."""

NAMES_SECONDS = 5.0
"""How long the first look waits for the first round, which knows the proxies' names:
where each was is written down by its name."""

PAUSE_SECONDS = 0.25
"""After each look: changes in between become one."""


class History:
    """Follows what the kernel holds, and writes down what happened.

    Args:
        file: keeps the timeline.
        rows: the servers' rows as the kernel has them, by slot.
        looked: what the kernel's tables held at the newest look.
        outcome: what the newest round came to; the proxies' names are in it.
        events: returns what this controller met, by the events' names.
        clock: returns Unix time.
        monotonic: returns the kernel's time, in seconds since the boot.
    """

    def __init__(
        self,
        file: TimelineFile,
        *,
        rows: Latest[Mapping[int, SlottedServer]],
        looked: Latest[KernelState],
        outcome: Latest[Converged],
        events: Callable[[], Mapping[str, int]],
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._rows = rows
        self._looked = looked
        self._outcome = outcome
        self._events = events
        self._clock = clock
        self._monotonic = monotonic
        self._named: Converged | None = None
        self._names: Mapping[Vip, str] = {}

    def __repr__(self) -> str:
        return f"<History {self._file!r}>"

    async def run(self) -> None:
        """Follow, until cancelled."""
        timeline = await finish(self._file.load)
        timeline = _begun(timeline, self._clock())
        await self._outcome.changed_since(0, NAMES_SECONDS)
        before: Look | None = None
        changes = Changes(self._rows, self._looked, self._outcome)
        while True:
            await changes.wait(LOOK_SECONDS)
            now = self._look()
            if now is None:
                continue
            if before is None:
                timeline = catch_up(timeline, now)
                before = replace(now, events={})
            timeline, before = follow(timeline, before, now), now
            await finish(functools.partial(self._file.save, timeline))
            await asyncio.sleep(PAUSE_SECONDS)

    def _look(self) -> Look | None:
        """Return what there is to see; None: no table was read yet."""
        looked, rows = self._looked.value, self._rows.value
        if looked is None:
            return None
        done = self._outcome.value
        if done is not None and done is not self._named:
            self._named = done
            self._names = {each.vip: each.proxy.name for each in done.placed}
        servers = looked.table.servers if rows is None else rows
        table = Table(servers, looked.table.vips)
        tables = KernelState(table, looked.servers, looked.vips)
        now = self._clock()
        return Look(
            now,
            tables,
            self._names,
            dict(self._events()),
            booted=now - self._monotonic(),
        )


def _begun(timeline: Timeline, at: float) -> Timeline:
    started = [Happening(at, "controller_started")]
    happenings = together(timeline.happenings, started, KEPT)
    return replace(timeline, happenings=happenings)
