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

from consul_ebpf.base.events import event
from consul_ebpf.base.timing import timed
from consul_ebpf.controller.inputs import ASKING, Inputs, secret, secret_there, waits
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel.pods import Bindings, place_of
from consul_ebpf.model.errors import ConsulEbpfError, InvalidProxyError
from consul_ebpf.model.seams import Applied, BootstrapRenderer, MapBackend
from consul_ebpf.model.values import (
    Binding,
    PlacedProxy,
    PooledServer,
    Proxy,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.planning.plan import plan
from consul_ebpf.planning.slots import assign_slots, given_last
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.params import Params
from consul_ebpf.proxies.vips import ProxyKey, allocate
from consul_ebpf.servers.known import KnownServers

logger = logging.getLogger(__name__)


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
    placed: tuple[PlacedProxy, ...] = field(default=(), compare=False, repr=False)
    """The programmed proxies and their VIPs."""
    refusals: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Proxy id to why it is not served, or not yet."""


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
        held = self._held(bound, inputs)
        with timed("render"):
            bootstraps = self._render(
                [each for each in bound if each not in held], inputs, refusals
            )
        programmed = {p: bound[p] for p in bound if p in held or p in bootstraps}
        refusals.update({each.proxy.id: why for each, why in held.items() if why})
        slotted = assign_slots(
            inputs.servers or (), self._table.servers, self._newest_slot
        )
        refusals.update(_without_a_way(programmed, slotted.values()))
        vips = (each.vip for each in programmed)
        with timed("plan"):
            preferences = plan(vips, slotted, self._table.vips, self._seed)
        table = Table(
            slotted,
            preferences,
            {each.vip: binding for each, binding in programmed.items() if binding},
        )
        with timed("apply"):
            applied = self._backend.apply(table)
        self._newest_slot = given_last(
            self._table.servers, table.servers, self._newest_slot
        )
        self._table = table

        if self._known is not None:
            self._known.save(inputs.servers or ())
        failed = self._write(bootstraps, inputs)
        failed.update(self._prune(each.proxy.id for each in programmed))
        self._report({**refusals, **failed})
        done = Converged(
            servers=sum(each.state is ServerState.READY for each in slotted.values()),
            proxies=len(programmed),
            refused=len({**refusals, **failed}),
            complete=not failed,
            placed=tuple(programmed),
            refusals={**refusals, **failed},
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

    def _held(
        self, bound: Iterable[PlacedProxy], inputs: Inputs
    ) -> dict[PlacedProxy, str]:
        """Say whose bootstrap has to wait, and what for; empty: what is there stays."""
        held = {}
        overdue = inputs.params.overdue if inputs.params else frozenset()
        for each in bound:
            proxy = each.proxy
            if not (why := waits(proxy, inputs)):
                continue
            there = self._files.bootstrap_path(proxy).exists()
            if proxy.id in overdue and not there and secret_there(inputs, proxy):
                logger.warning(
                    "proxy %s: its bootstrap is written without what Consul says of it"
                    " (central configuration), and again once that is known: %s",
                    proxy.id,
                    why,
                    extra=event("without_central"),
                )
            else:
                why = f"proxy {proxy.id} ({proxy.owner}): no bootstrap yet: {why}"
                held[each] = "" if there else why
        return held

    def _render(
        self, placed: list[PlacedProxy], inputs: Inputs, refusals: dict[str, str]
    ) -> dict[PlacedProxy, Mapping[str, Any]]:
        bootstraps = {}
        params = inputs.params or Params()
        for each in placed:
            try:
                found = params.found.get(each.proxy.id)
                bootstraps[each] = self._renderer.render(each, found)
            except InvalidProxyError as error:
                refusals[each.proxy.id] = str(error)
        return bootstraps

    def _write(
        self, bootstraps: Mapping[PlacedProxy, Mapping[str, Any]], inputs: Inputs
    ) -> dict[str, str]:
        """Write what changed; return why some could not be."""
        failed: dict[str, str] = {}
        for each, bootstrap in bootstraps.items():
            proxy = each.proxy
            try:
                # Envoy does not start without the files that its bootstrap names.
                if token := secret(inputs, proxy):
                    self._files.write_token(proxy, token)
                self._files.write_tls(proxy, inputs.tls)
                known = self._files.bootstrap_path(proxy).exists()
                if self._files.write(each, bootstrap) and known:
                    logger.warning(
                        "proxy %s: its bootstrap has changed; its Envoy takes that up"
                        " when it is restarted",
                        proxy.id,
                        extra=event("bootstrap_changed"),
                    )
            except ConsulEbpfError as error:
                failed[proxy.id] = str(error)
        return failed

    def _prune(self, keep: Iterable[str]) -> dict[str, str]:
        """Remove the files of proxies that are gone; return why that failed."""
        try:
            self._files.prune(set(keep))
        except ConsulEbpfError as error:
            return {"": str(error)}
        return {}

    def _report(self, refusals: dict[str, str]) -> None:
        """Log each refusal once, and its end."""
        refusals = {
            proxy_id: why
            for proxy_id, why in refusals.items()
            if not why.endswith(ASKING)  # each new proxy waits for a moment
        }
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
