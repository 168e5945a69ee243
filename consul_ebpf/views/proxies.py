"""What the endpoint knows of each proxy: from the newest round, and the kernel."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.outcomes import (
    Converged,
    Outcome,
    Refused,
    Served,
    name_of,
    refusal,
)
from consul_ebpf.model.values import KernelState, Proxy, Vip, VipCounters
from consul_ebpf.views.fresh import Fresh

Condition = Literal["programmed", "bootstrap", "connected"]

LOOK = 0.25
"""Seconds between looks at the kernel while somebody waits for a connection."""

PART = 20.0
"""Looking is at most this part of the time: a look that takes long is rarer."""


@dataclass(frozen=True, slots=True)
class ProxyView:
    """One proxy, as the endpoint tells of it."""

    id: str
    """Consul's; this host's key of it while that is not known."""
    vip: str
    """`address:port` in its bootstrap; empty: it has none."""
    programmed: bool
    """Whether the kernel leads its VIP somewhere."""
    bootstrap: str
    """Path of its bootstrap; empty: there is none."""
    ready: bool
    """Both: its Envoy can start."""
    connected: bool
    """Whether one of its newest connections to a server is established now."""
    server: str
    """`address:port` where its newest connect went; empty: there was none."""
    refused: str
    """Why it is not served, or not yet."""
    owner: str
    """Who asked for it."""

    def holds(self, condition: Condition) -> bool:
        """Whether a condition that can be waited for holds."""
        return bool(getattr(self, condition))

    def missing(self, condition: Condition) -> str:
        """Say in words why it does not."""
        if self.refused:
            return self.refused
        if not self.programmed:
            return "the kernel has no VIP of it yet"
        if condition == "connected" and self.bootstrap:
            return "its Envoy has no connection to a Consul server"
        return "it has no bootstrap yet"


Look = tuple[KernelState, frozenset[int]]
"""The kernel's account, and the cookies of established connections."""

Established = Callable[[KernelState], frozenset[int]]
"""Finds out which of the sockets noted in the kernel's rows are established."""


class Host:
    """All proxies of this host.

    Args:
        read: the kernel's account.
        established: which of its sockets are established. Blocking.
        bootstrap_path: where a proxy's bootstrap is.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[KernelState]],
        established: Established,
        bootstrap_path: Callable[[Proxy], Path],
    ) -> None:
        self._read = read
        self._established = established
        self._bootstrap_path = bootstrap_path
        self._outcomes: Mapping[str, Outcome] = {}
        """By proxy key."""
        self._keys: Mapping[str, str] = {}
        """By the name of each proxy whose key is another."""
        self._count = 0
        """Of the rounds."""
        self._looks = Fresh("the kernel's account", self._look)
        self.round_at = float("-inf")
        """When the newest round was told of; the loop's time."""
        self._waiting = 0
        self._following: asyncio.Task[None] | None = None
        self.rounds: Latest[Converged] = Latest()
        self.news: Latest[tuple[int, frozenset[Vip]]] = Latest()
        """Changes when a round was carried out or a proxy was connected: what a view
        showed may be different then. The number of rounds, the connected VIPs."""

    def __repr__(self) -> str:
        return f"<Host {len(self._outcomes)} proxies>"

    def converged(self, done: Converged) -> None:
        """Take the outcome of a round."""
        self._outcomes = done.outcomes
        named = ((name_of(key, each), key) for key, each in done.outcomes.items())
        self._keys = {name: key for name, key in named if name not in done.outcomes}
        self.round_at = asyncio.get_running_loop().time()
        self._count += 1
        self.rounds.set(done)
        seen = self.news.value
        self.news.set((self._count, seen[1] if seen else frozenset()))

    @property
    def keys(self) -> list[str]:
        """All known proxies'."""
        return sorted(self._outcomes)

    def _key(self, name: str) -> str:
        """Return the key of the proxy that is called so: by its key or its id."""
        return self._keys.get(name, name)

    def owner(self, name: str) -> str:
        """Return whose a proxy is, served or not; empty: it is not known."""
        outcome = self._outcomes.get(self._key(name))
        if outcome is None:
            return ""
        return (
            outcome.placed.proxy.owner if isinstance(outcome, Served) else outcome.owner
        )

    def name(self, key: str) -> str:
        """Return what people call the proxy of this key."""
        outcome = self._outcomes.get(key)
        return name_of(key, outcome) if outcome else key

    def bootstrap_path(self, name: str) -> Path:
        """Return where the bootstrap of a proxy is, by its key or its id."""
        outcome = self._outcomes.get(self._key(name))
        if isinstance(outcome, Served):
            return self._bootstrap_path(outcome.placed.proxy)
        return self._bootstrap_path(Proxy(name, node=""))

    async def look(self) -> Look:
        """Return what the kernel holds: at most a second old, after the last round."""
        return await self._looks.get(self.round_at)

    async def view(self, name: str) -> ProxyView | None:
        """Return what is known of a proxy, by its key or its id; None: nothing."""
        views = await self.views([self._key(name)])
        return views[0] if views else None

    async def views(self, keys: Iterable[str]) -> list[ProxyView]:
        """Return what is known of some proxies, without those of which nothing is."""
        known = {each: self._outcomes[each] for each in keys if each in self._outcomes}
        served = [each for each in known.values() if isinstance(each, Served)]
        look = await self.look() if served else None
        there = await asyncio.to_thread(self._bootstraps, served) if served else {}
        views = []
        for key, outcome in known.items():
            if isinstance(outcome, Refused):
                why = refusal(outcome)
                views.append(
                    ProxyView(
                        name_of(key, outcome),
                        "",
                        programmed=False,
                        bootstrap="",
                        ready=False,
                        connected=False,
                        server="",
                        refused=why,
                        owner=outcome.owner,
                    )
                )
            elif look is not None:
                views.append(_view(outcome, there.get(key), *look))
        return views

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Have the kernel looked at while somebody waits: once for all who wait."""
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
            begun = loop.time()
            with contextlib.suppress(Exception):  # who waits asks, and is told
                await self._looks.get(begun)
            await asyncio.sleep(max(LOOK, PART * (loop.time() - begun)))

    async def _look(self) -> Look:
        state = await self._read()
        cookies = await asyncio.to_thread(self._established, state)
        connected = frozenset(
            vip for vip, row in state.vips.items() if _is_connected(row, cookies)
        )
        self.news.set((self._count, connected))
        return state, cookies

    def _bootstraps(self, served: Iterable[Served]) -> dict[str, Path]:
        """Return the paths of the bootstraps that are there as written. Blocking."""
        proxies = [each.placed.proxy for each in served if each.bootstrap]
        paths = {each.key: self._bootstrap_path(each) for each in proxies}
        return {key: path for key, path in paths.items() if path.is_file()}


def _is_connected(row: VipCounters, cookies: frozenset[int]) -> bool:
    return any(cookie in cookies for cookie, _ in row.sockets)


def _view(
    served: Served,
    bootstrap: Path | None,
    state: KernelState,
    cookies: frozenset[int],
) -> ProxyView:
    placed = served.placed
    row = state.vips.get(placed.vip)
    server = None
    if row is not None and row.current is not None:
        server = state.table.servers.get(row.current)
    return ProxyView(
        id=placed.proxy.name,
        vip=str(placed.vip),
        programmed=row is not None,
        bootstrap=str(bootstrap) if bootstrap else "",
        ready=bootstrap is not None and row is not None,
        connected=row is not None
        and row.current is not None
        and _is_connected(row, cookies),
        server=server.server.endpoint if server else "",
        refused=refusal(served),
        owner=placed.proxy.owner,
    )
