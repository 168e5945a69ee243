"""One round: plan, program, render. Blocking; the runner calls it for each change.

The kernel's tables are written before a bootstrap is, so no Envoy starts on a VIP
that leads nowhere.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from consul_ebpf._errors import ConsulEbpfError, InvalidProxyError
from consul_ebpf._events import event
from consul_ebpf._protocols import Applied, BootstrapRenderer, MapBackend
from consul_ebpf._values import (
    Binding,
    PlacedProxy,
    PooledServer,
    Proxy,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.binding import UNBOUND, Bindings, place_of
from consul_ebpf.discovery.known import KnownServers
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.planning.plan import plan
from consul_ebpf.planning.slots import assign_slots
from consul_ebpf.workloads.memory import VipMemory
from consul_ebpf.workloads.vips import ProxyKey, allocate

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a table and the files are made of; None: not known yet."""

    servers: tuple[PooledServer, ...] | None = None
    proxies: tuple[Proxy, ...] | None = None
    token: str | None = field(default=None, repr=False)
    """The proxies' ACL token."""
    bindings: Bindings = field(default_factory=lambda: UNBOUND)
    """Of all places the proxies live at."""
    attempt: int = 0
    """Counts the rounds repeated because a file could not be written."""

    @property
    def complete(self) -> bool:
        """Whether servers, proxies and whose VIPs are whose are known."""
        if self.servers is None or self.proxies is None:
            return False
        return all(place_of(proxy) in self.bindings for proxy in self.proxies)


@dataclass(frozen=True, slots=True)
class Converged:
    """What the newest inputs came to."""

    servers: int
    """Ready ones."""
    proxies: int
    """Programmed ones."""
    refused: int
    """Proxies that cannot be served, or not yet; the log says why."""
    complete: bool = True
    """Whether every file was written; if not, the runner soon tries again."""


class Converger:
    """Makes kernel and files true to inputs; remembers what it did last.

    The arguments are the `Runner`'s.
    """

    def __init__(
        self,
        *,
        backend: MapBackend,
        renderer: BootstrapRenderer,
        files: BootstrapFiles,
        memory: VipMemory,
        known: KnownServers | None = None,
        network: IPv4Network,
        port: int,
        seed: str,
    ) -> None:
        self._backend = backend
        self._renderer = renderer
        self._files = files
        self._memory = memory
        self._known = known
        self._network = network
        self._port = port
        self._seed = seed
        self._table = Table()
        self._remembered: Mapping[ProxyKey, Vip] = {}
        self._newest_slot = -1
        self._refusals: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Converger {self._backend!r}>"

    def resume(self) -> Inputs:
        """Read what an earlier process left, in the kernel and on disk.

        Returns the servers it knew as ready inputs: with Consul away they are the
        last known good list, and new proxies are served from it.
        """
        self._table = self._backend.read().table
        self._remembered = self._memory.load()
        known = tuple(
            PooledServer(entry.server, entry.state)
            for entry in self._table.servers.values()
        )
        return Inputs(servers=known or None)

    def converge(self, inputs: Inputs) -> Converged:
        """Plan, program, render.

        Raises:
            KernelError: the kernel refused a write; call again to converge.
        """
        begun = time.perf_counter()
        refusals: dict[str, str] = {}
        placed = self._place(inputs.proxies or (), refusals)
        bound = _bound(placed, inputs.bindings, refusals)
        bootstraps = self._render(list(bound), refusals)
        slotted = assign_slots(
            inputs.servers or (), self._table.servers, self._newest_slot
        )
        refusals.update(_without_a_way(bootstraps, slotted.values()))
        vips = (each.vip for each in bootstraps)
        table = Table(
            slotted,
            plan(vips, slotted, self._table.vips, self._seed),
            {each.vip: bound[each] for each in bootstraps if bound[each]},
        )
        applied = self._backend.apply(table)
        self._newest_slot = _newest(self._table, table, self._newest_slot)
        self._table = table

        if self._known is not None:
            self._known.save(inputs.servers or ())
        failed = self._write(bootstraps, inputs.token)
        self._report({**refusals, **failed})
        done = Converged(
            servers=sum(each.state is ServerState.READY for each in slotted.values()),
            proxies=len(bootstraps),
            refused=len({**refusals, **failed}),
            complete=not failed,
        )
        self._log(applied, done, time.perf_counter() - begun)
        return done

    def _place(
        self, proxies: tuple[Proxy, ...], refusals: dict[str, str]
    ) -> list[PlacedProxy]:
        """Give each proxy its VIP; when the table is too small, old ones go first."""
        allocation = allocate(proxies, self._remembered, self._network, self._port)
        self._memory.save(allocation.remembered)  # writes only what changed
        self._remembered = allocation.remembered
        refusals.update({proxy.id: reason for proxy, reason in allocation.refused})
        placed = sorted(
            allocation.placed, key=lambda each: each.vip not in self._table.vips
        )
        capacity = self._backend.capacity
        for each in placed[capacity:]:
            refusals[each.proxy.id] = (
                f"proxy {each.proxy.id} ({each.proxy.owner}): the VIP table is full "
                f"with {capacity}: raise kernel.max_proxies"
            )
        return placed[:capacity]

    def _render(
        self, placed: list[PlacedProxy], refusals: dict[str, str]
    ) -> dict[PlacedProxy, Mapping[str, Any]]:
        bootstraps = {}
        for each in placed:
            try:
                bootstraps[each] = self._renderer.render(each)
            except InvalidProxyError as error:
                refusals[each.proxy.id] = str(error)
        return bootstraps

    def _write(
        self, bootstraps: Mapping[PlacedProxy, Mapping[str, Any]], token: str | None
    ) -> dict[str, str]:
        """Write what changed and remove what is gone; return why some could not be."""
        failed: dict[str, str] = {}
        for each, bootstrap in bootstraps.items():
            try:
                if token is not None:  # Envoy does not start without that file
                    self._files.write_token(each.proxy, token)
                self._files.write(each, bootstrap)
            except ConsulEbpfError as error:
                failed[each.proxy.id] = str(error)
        try:
            self._files.prune({each.proxy.id for each in bootstraps})
        except ConsulEbpfError as error:
            failed[""] = str(error)
        return failed

    def _report(self, refusals: dict[str, str]) -> None:
        """Log each refusal once, and its end."""
        for proxy_id, reason in refusals.items():
            if self._refusals.get(proxy_id) != reason:
                logger.error("not served: %s", reason, extra=event("proxy_refused"))
        for proxy_id in self._refusals.keys() - refusals.keys():
            logger.info("no longer refused: proxy %s", proxy_id)
        self._refusals = refusals

    def _log(self, applied: Applied, done: Converged, seconds: float) -> None:
        if applied:
            logger.info(
                "programmed %d servers (%d ready) and %d proxies in %.0f ms:"
                " %d server rows, %d VIPs put, %d removed",
                len(self._table.servers),
                done.servers,
                done.proxies,
                seconds * 1000,
                applied.servers,
                applied.vips_put,
                applied.vips_removed,
            )


def _bound(
    placed: Iterable[PlacedProxy], bindings: Bindings, refusals: dict[str, str]
) -> dict[PlacedProxy, Binding]:
    """Look up whose each VIP is; a proxy of which that cannot be told is refused."""
    bound = {}
    for each in placed:
        binding = bindings.get(place_of(each.proxy), "not known yet")
        if isinstance(binding, Binding):
            bound[each] = binding
        else:
            refusals[each.proxy.id] = (
                f"proxy {each.proxy.id} ({each.proxy.owner}): {binding}"
            )
    return bound


def _without_a_way(
    placed: Iterable[PlacedProxy], servers: Iterable[SlottedServer]
) -> dict[str, str]:
    """Say which proxies' VIPs are of a family that no server has an address of.

    They are programmed all the same: a server may come that has one.
    """
    known = [entry.server for entry in servers]
    missing = {
        ipv6: family
        for ipv6, family in ((False, "IPv4"), (True, "IPv6"))
        if known and not any(each.ipv6 if ipv6 else each.ipv4 for each in known)
    }
    return {
        each.proxy.id: f"proxy {each.proxy.id} ({each.proxy.owner}): its VIP "
        f"{each.vip.literal} is {missing[each.vip.ipv6]} and no server has such an "
        "address: give it a VIP of the other kind (127.64.0.1 or ::ffff:127.64.0.1)"
        for each in placed
        if each.vip.ipv6 in missing
    }


def _newest(before: Table, after: Table, newest: int) -> int:
    """Return the slot given last."""
    fresh = [slot for slot in after.servers if slot not in before.servers]
    return fresh[-1] if fresh else newest
