"""What the endpoint knows of each proxy: from the newest round, and the kernel."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.round import Converged
from consul_ebpf.model.values import KernelState, PlacedProxy, Proxy

Condition = Literal["programmed", "bootstrap", "connected"]

FRESH = 0.2
"""Seconds that an answer of the kernel is used for, however many ask."""


@dataclass(frozen=True, slots=True)
class ProxyView:
    """One proxy, as the endpoint tells of it."""

    id: str
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


class Host:
    """All proxies of this host.

    Args:
        read: the kernel's account.
        established: the cookies of all established TCP connections. Blocking.
        bootstrap_path: where a proxy's bootstrap is.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[KernelState]],
        established: Callable[[], frozenset[int]],
        bootstrap_path: Callable[[Proxy], Path],
    ) -> None:
        self._read = read
        self._established = established
        self._bootstrap_path = bootstrap_path
        self._placed: Mapping[str, PlacedProxy] = {}
        self._refusals: Mapping[str, str] = {}
        self._asking = asyncio.Lock()
        self._answer: tuple[KernelState, frozenset[int]] | None = None
        self._answered = float("-inf")
        self.rounds: Latest[Converged] = Latest()

    def __repr__(self) -> str:
        return f"<Host {len(self._placed)} proxies>"

    def converged(self, done: Converged) -> None:
        """Take the outcome of a round."""
        self._placed = {each.proxy.id: each for each in done.placed}
        self._refusals = done.refusals
        self.rounds.set(done)

    @property
    def ids(self) -> list[str]:
        """All known proxies'."""
        known = {*self._placed, *(each for each in self._refusals if each)}
        return sorted(known)

    def owner(self, proxy_id: str) -> str:
        """Return whose a proxy is; empty: it is not known."""
        placed = self._placed.get(proxy_id)
        return placed.proxy.owner if placed else ""

    async def view(self, proxy_id: str) -> ProxyView | None:
        """Return what is known of a proxy; None: nothing."""
        placed = self._placed.get(proxy_id)
        refused = self._refusals.get(proxy_id, "")
        if placed is None:
            if not refused:
                return None
            return ProxyView(proxy_id, "", False, "", False, False, "", refused, "")
        state, cookies = await self._kernel()
        counters = state.vips.get(placed.vip)
        server = connected = None
        if counters is not None and counters.current is not None:
            row = state.table.servers.get(counters.current)
            server = row.server.endpoint if row else None
            connected = any(cookie in cookies for cookie, _ in counters.sockets)
        path = self._bootstrap_path(placed.proxy)
        there = await asyncio.to_thread(path.is_file)
        return ProxyView(
            id=proxy_id,
            vip=str(placed.vip),
            programmed=counters is not None,
            bootstrap=str(path) if there else "",
            ready=there and counters is not None,
            connected=bool(connected),
            server=server or "",
            refused=refused,
            owner=placed.proxy.owner,
        )

    async def _kernel(self) -> tuple[KernelState, frozenset[int]]:
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self._answer is None or now - self._answered > FRESH:
                state = await self._read()
                cookies = await asyncio.to_thread(self._established)
                self._answer = state, cookies
                self._answered = asyncio.get_running_loop().time()
            return self._answer
