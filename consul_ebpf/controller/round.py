"""One round: plan, program, render. Blocking; the runner calls it for each change.

The kernel's tables are written before a bootstrap is, so no Envoy starts on a VIP
that leads nowhere.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

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
from consul_ebpf.controller.problems import ProblemFile, problems_of
from consul_ebpf.controller.reports import Reporter
from consul_ebpf.controller.writing import Writer
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.seams import Applied, BootstrapRenderer, MapBackend
from consul_ebpf.model.values import PooledServer, ServerState, Vip
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.vips import ProxyKey
from consul_ebpf.servers.known import KnownServers

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A round whose plan is made and that is still to be programmed."""

    inputs: Inputs
    placement: Placement
    planned: Planned
    begun: float


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
        problems: ProblemFile | None = None,
        network: IPv4Network,
        port: int,
        seed: str,
    ) -> None:
        self.kernel = KernelTable(backend, seed)
        """What the kernel holds; server states are written beside the rounds."""
        self._writer = Writer(renderer, files)
        self._files = files
        self._memory = memory
        self._known = known
        self._problems = problems
        self._vips = network, port
        self._remembered: Mapping[ProxyKey, Vip] = {}
        self._reporter = Reporter()
        self._telling = threading.Lock()
        self.missing: tuple[str, ...] = ()
        """What the controller lacks to serve all; the runner knows."""

    def __repr__(self) -> str:
        return f"<Converger {self.kernel!r}>"

    def resume(self) -> Inputs:
        """Read what an earlier process left, in the kernel and on disk.

        Returns the servers it knew as ready inputs: with Consul away they are the
        last known good list, and new proxies are served from it.
        """
        table = self.kernel.resume().table
        self._remembered = self._memory.load()
        known = tuple(
            PooledServer(entry.server, entry.state) for entry in table.servers.values()
        )
        return Inputs(servers=known or None)

    def converge(
        self, inputs: Inputs, step: Callable[[], None] = lambda: None
    ) -> Converged:
        """Plan, program, render: `prepare`, `program` and `complete`.

        Args:
            inputs: what to make true.
            step: called after each piece of work that was done.

        Raises:
            KernelError: the kernel refused a write; call again to converge.
        """
        prepared = self.prepare(inputs)
        step()
        applied = self.program(prepared)
        step()
        return self.complete(prepared, applied, step)

    def prepare(self, inputs: Inputs) -> Prepared:
        """Say who is to have which VIP and prefer which server; the kernel waits."""
        begun = time.perf_counter()
        placement = place(
            inputs,
            self._remembered,
            self.kernel.table,
            self.kernel.capacity,
            self._vips,
        )
        self._memory.save(placement.remembered)  # writes only what changed
        self._memory.save_ids(inputs.proxies or ())
        self._remembered = placement.remembered
        bound = {each.vip: binding for each, binding in placement.bound.items()}
        bound |= placement.kept
        planned = self.kernel.prepare(inputs.servers or (), bound)
        return Prepared(inputs, placement, planned, begun)

    def program(self, prepared: Prepared) -> Applied:
        """Write what differs into the kernel: short, and the only part that does.

        Raises:
            KernelError: the kernel refused a write; prepare and program again.
        """
        return self.kernel.program(prepared.planned)

    def complete(
        self,
        prepared: Prepared,
        applied: Applied,
        step: Callable[[], None] = lambda: None,
    ) -> Converged:
        """Write the files of what was programmed; return what it all came to."""
        inputs, placement = prepared.inputs, prepared.placement
        if self._known is not None:
            self._known.save(inputs.servers or ())
        self._files.settle(each.proxy for each in placement.bound)
        outcomes = self._outcomes(placement, inputs, step)
        pruning = "" if inputs.lacking else self._prune(placement)
        self._reporter.report(outcomes, pruning)
        states = [each.state for each in self.kernel.table.servers.values()]
        done = Converged(
            servers=states.count(ServerState.READY),
            proxies=len(placement.bound),
            refused=sum(bool(refusal(each)) for each in outcomes.values()),
            complete=not pruning and all(map(_complete, outcomes.values())),
            outcomes=outcomes,
            missing=self.missing,
            kept=tuple(placement.kept),
        )
        self.tell(done)
        self._log(applied, done, time.perf_counter() - prepared.begun)
        return done

    def tell(self, done: Converged) -> None:
        """Keep what is wrong where `status` finds it, and log what is missing."""
        with self._telling:
            self._reporter.report_missing(done.missing)
            if self._problems is not None:
                self._problems.save(problems_of(done.outcomes, done.missing))

    def _outcomes(
        self, placement: Placement, inputs: Inputs, step: Callable[[], None]
    ) -> dict[str, Outcome]:
        """Write everybody's files; return what each proxy came to."""
        lost = without_a_way(placement.bound, self.kernel.table.servers.values())
        outcomes: dict[str, Outcome] = dict(placement.refused)
        with timed("render"):
            for each in placement.bound:
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
        self._writer.forget(outcomes)
        return outcomes

    def _prune(self, placement: Placement) -> str:
        """Remove the files of proxies that are gone; return why that failed."""
        try:
            self._files.prune({each.proxy.key for each in placement.bound})
        except ConsulEbpfError as error:
            return str(error)
        return ""

    def _log(self, applied: Applied, done: Converged, seconds: float) -> None:
        if applied:
            logger.info(
                "programmed %d servers (%d ready) and %d proxies in %.0f ms:"
                " %d server rows, %d VIPs put, %d removed",
                len(self.kernel.table.servers),
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
    """Add what is known of a proxy besides.

    It has no way to a server; where it lives cannot be told; another has its id.
    """
    if untold is not None:
        untold = replace(untold, effect="its VIP stays bound to where it was")
    if twin is not None:
        twin = replace(twin, effect="another entry")
    return replace(
        served, waiting=served.waiting or lost, trouble=served.trouble or untold or twin
    )
