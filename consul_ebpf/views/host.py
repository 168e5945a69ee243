"""The running controller's snapshots: one for all who ask at about the same time."""

import asyncio
import contextlib
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.base import timing
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.version import installed_version
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.model.values import KernelState, PluginState, Proxy, Vip
from consul_ebpf.views.cache import Cached
from consul_ebpf.views.gatherer import Gatherer
from consul_ebpf.views.known_proxies import KnownProxies
from consul_ebpf.views.snapshot import Inside, Snapshot

LOOK_SECONDS = 0.25
"""Between looks at the kernel while somebody waits for a connection."""

PAUSE_FACTOR = 20.0
"""After a look there is none for this many times as long as it took."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A bootstrap that is on disk."""

    path: Path
    written: float
    """Unix time."""


class Host:
    """Has a snapshot that is at most a second old and no older than the last round.

    Args:
        gatherer: takes it.
        tables: functions that read the kernel's tables, by the service's name.
        outcome: what the newest round came to.
        bootstrap_path: returns where a proxy's bootstrap is.
        events: returns what this controller met, by the events' names.
        tokens: returns when the logins' tokens were made, Unix time, by proxy key.
        logins_queued: returns how many logins wait for their turn.
        logins_failing: returns how many failed last, and are tried again.
        plugin: returns what kubelet made of the node plugin; None: there is none.
    """

    def __init__(
        self,
        gatherer: Gatherer,
        tables: Mapping[str, Callable[[], Awaitable[KernelState]]],
        outcome: Latest[Converged],
        bootstrap_path: Callable[[Proxy], Path],
        *,
        events: Callable[[], Mapping[str, int]] = dict,
        tokens: Callable[[], Mapping[str, float]] = dict,
        logins_queued: Callable[[], int] = int,
        logins_failing: Callable[[], int] = int,
        plugin: Callable[[], PluginState | None] = lambda: None,
    ) -> None:
        self.outcome = outcome
        self._gatherer = gatherer
        self._tables = tables
        self._bootstrap_path = bootstrap_path
        self._events = events
        self._tokens = tokens
        self._logins_queued = logins_queued
        self._logins_failing = logins_failing
        self._plugin = plugin
        self._known = KnownProxies({})
        self._looks = Cached(
            "the kernel's account", self._look, version=lambda: outcome.version
        )
        self.taken = 0
        """How many snapshots were taken."""
        self.connections: Latest[tuple[int, frozenset[Vip]]] = Latest()
        """The version of `outcome` at the newest look, and the VIPs connected then."""
        self._waiting = 0
        self._following: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Host {self.proxies!r}>"

    @property
    def proxies(self) -> KnownProxies:
        """What the newest round came to."""
        newest = self.outcome.value
        if newest is not None and newest.outcomes is not self._known.outcomes:
            self._known = KnownProxies(newest.outcomes)
        return self._known

    async def snapshot(self) -> Snapshot:
        """Return the newest one, or wait for it.

        Raises:
            ConsulEbpfError: the kernel cannot be looked at, or not in time.
        """
        return await self._looks.get()

    async def bootstraps(self, proxies: Mapping[str, Proxy]) -> dict[str, Bootstrap]:
        """Return the bootstraps of these proxies that are there, by the same keys."""
        paths = {key: self._bootstrap_path(each) for key, each in proxies.items()}
        return await asyncio.to_thread(_bootstraps, paths)

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Keep `connections` true while somebody waits: once for all who wait."""
        self._waiting += 1
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="looks")
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._following.cancel()
                self._following = None

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            version, begun = self.outcome.version, loop.time()
            with contextlib.suppress(Exception):  # whoever waits gets it by `snapshot`
                await self._looks.get(seconds=0.0)
            pause = max(LOOK_SECONDS, PAUSE_FACTOR * (loop.time() - begun))
            await self.outcome.changed_since(version, pause)

    async def _look(self) -> Snapshot:
        version = self.outcome.version
        inside = Inside(
            self.proxies,
            version=installed_version() or "unknown",
            durations=timing.durations(),
            errors=timing.counts("connection_errors"),
            moved=timing.counts("moved"),
            moved_from=timing.counts("moved_from"),
            tokens=dict(self._tokens()),
            logins_queued=self._logins_queued(),
            logins_failing=self._logins_failing(),
            plugin=self._plugin(),
        )
        tables = {name: await read() for name, read in self._tables.items()}
        snapshot = await asyncio.to_thread(
            self._gatherer.complete, tables, dict(self._events()), inside
        )
        self.taken += 1
        rows = snapshot.grpc.tables.vips
        connected = (vip for vip, row in rows.items() if snapshot.is_connected(row))
        self.connections.set((version, frozenset(connected)))
        return snapshot


def _bootstraps(paths: Mapping[str, Path]) -> dict[str, Bootstrap]:
    found = {}
    for key, path in paths.items():
        with contextlib.suppress(OSError):
            seen = path.stat()
            if stat.S_ISREG(seen.st_mode):
                found[key] = Bootstrap(path, seen.st_mtime)
    return found
