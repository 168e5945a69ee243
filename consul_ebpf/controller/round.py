"""One round: plan, program, render. Blocking; `Rounds` calls it after each change.

The kernel's tables are written before the bootstraps, so that no Envoy starts with a
VIP that is not redirected yet.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from consul_ebpf.base.timing import timed
from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.kernel_table import KernelTable, Planned
from consul_ebpf.controller.outcomes import (
    Converged,
    Outcome,
    Served,
    Trouble,
    refusal,
)
from consul_ebpf.controller.placing import Placement, place, without_a_way
from consul_ebpf.controller.pruning import Pruner
from consul_ebpf.controller.writing import Writer
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel.pods import Bindings
from consul_ebpf.model.seams import Applied, BootstrapRenderer
from consul_ebpf.model.values import PooledServer, Proxy, ServerState, Vip
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.vips import ProxyKey, VipRange
from consul_ebpf.servers.known import KnownServers

logger = logging.getLogger(__name__)


_Asked = tuple[tuple[Proxy, ...] | None, Bindings, tuple[str, ...]]
"""The proxies, their bindings, and what is not known of either."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A round that is planned, and not programmed yet."""

    inputs: Inputs
    placement: Placement
    planned: Planned
    begun: float


class Converger:
    """Makes the kernel's tables and the files agree with the inputs.

    The arguments are the `Runner`'s; `kernel` is what the kernel holds.
    """

    def __init__(
        self,
        *,
        kernel: KernelTable,
        renderer: BootstrapRenderer,
        files: BootstrapFiles,
        memory: VipMemory,
        known: KnownServers | None = None,
        vips: VipRange,
    ) -> None:
        self._kernel = kernel
        self._writer = Writer(renderer, files)
        self._files = files
        self._pruner = Pruner(files)
        self._memory = memory
        self._known = known
        self._vips = vips
        self._remembered: Mapping[ProxyKey, Vip] = {}
        self._placed: tuple[_Asked, Placement] | None = None
        """The newest placement, and what it was made from."""
        self._outcomes: Mapping[str, Outcome] = {}
        """The outcomes of the newest round."""
        self._settled: Placement | None = None
        """The placement whose files' places are remembered on disk."""

    def __repr__(self) -> str:
        return f"<Converger {self._kernel!r}>"

    def resume(self) -> tuple[PooledServer, ...]:
        """Read what an earlier process left, in the kernel and on disk.

        Returns:
            The servers that it knew. While Consul is away, they are used for new
            proxies, too.
        """
        table = self._kernel.resume().table
        self._remembered = self._memory.load()
        return tuple(
            PooledServer(entry.server, entry.state) for entry in table.servers.values()
        )

    def prepare(self, inputs: Inputs) -> Prepared:
        """Plan which proxy gets which VIP and which servers; do not write tables."""
        begun = time.perf_counter()
        placement = self._place(inputs)
        self._memory.save(placement.remembered)  # writes only what changed
        planned = self._kernel.prepare(inputs.servers or (), placement.bindings)
        return Prepared(inputs, placement, planned, begun)

    def _place(self, inputs: Inputs) -> Placement:
        """Give proxies their VIPs; without a change, return the last placement."""
        asked = inputs.proxies, inputs.bindings, inputs.lacking
        if self._placed is not None and self._placed[0] == asked:
            return self._placed[1]
        placement = place(
            inputs,
            self._remembered,
            self._kernel.table,
            self._kernel.capacity,
            self._vips,
        )
        self._placed = asked, placement
        self._memory.save_ids(inputs.proxies or ())
        self._remembered = placement.remembered
        return placement

    def complete(
        self,
        prepared: Prepared,
        applied: Applied,
        step: Callable[[], None] = lambda: None,
    ) -> Converged:
        """Write the files of the proxies in the kernel; return the round's result."""
        inputs, placement = prepared.inputs, prepared.placement
        if self._known is not None:
            self._known.save(inputs.servers or ())
        if placement is not self._settled:
            self._files.settle(each.proxy for each in placement.placed)
            self._settled = placement
        outcomes = self._serve(placement, inputs, step)
        not_pruned = self._pruner.prune(placement, inputs, outcomes)
        states = [each.state for each in self._kernel.table.servers.values()]
        done = Converged(
            servers=states.count(ServerState.READY),
            proxies=len(placement.placed),
            refused=sum(bool(refusal(each)) for each in outcomes.values()),
            complete=not not_pruned and all(map(_complete, outcomes.values())),
            outcomes=outcomes,
            not_pruned=not_pruned,
            kept=tuple(placement.kept),
        )
        self._log(applied, done, time.perf_counter() - prepared.begun)
        return done

    def _serve(
        self, placement: Placement, inputs: Inputs, step: Callable[[], None]
    ) -> Mapping[str, Outcome]:
        """Write all proxies' files; return the outcomes by proxy key.

        If nothing has changed, it is the same object as the last time.
        """
        if inputs.wrong is not None:
            self._writer.write_again(inputs.wrong)
        lost = without_a_way(placement.placed, self._kernel.table.servers.values())
        outcomes: dict[str, Outcome] = dict(placement.refused)
        with timed("render"):
            for each in placement.placed:
                key = each.proxy.key
                served = self._writer.serve(each, inputs)
                twin = placement.refused.get(key)
                outcomes[key] = _with(
                    served,
                    lost.get(key),
                    placement.untold.get(key),
                    twin.why if twin else None,
                )
                step()
        self._writer.forget(outcomes.keys())
        if outcomes != self._outcomes:
            self._outcomes = outcomes
        return self._outcomes

    def _log(self, applied: Applied, done: Converged, seconds: float) -> None:
        if applied:
            logger.info(
                "programmed %d servers (%d ready) and %d proxies in %.0f ms:"
                " %d server rows, %d VIPs put, %d removed",
                len(self._kernel.table.servers),
                done.servers,
                done.proxies,
                seconds * 1000,
                applied.servers,
                applied.vips_put,
                applied.vips_removed,
            )


def _complete(outcome: Outcome) -> bool:
    return not isinstance(outcome, Served) or outcome.complete


def _with(
    served: Served, lost: Trouble | None, untold: Trouble | None, twin: Trouble | None
) -> Served:
    """Add more troubles to an outcome.

    Args:
        served: the outcome.
        lost: no server has an address of the VIP's family.
        untold: the proxy's namespace or cgroup cannot be identified.
        twin: another entry with the same id was refused.
    """
    if lost is None and untold is None and twin is None:
        return served
    if untold is not None:
        untold = replace(untold, effect="its VIP stays bound to where it was")
    if twin is not None:
        twin = replace(twin, effect="another entry")
    return replace(
        served, waiting=served.waiting or lost, trouble=served.trouble or untold or twin
    )
