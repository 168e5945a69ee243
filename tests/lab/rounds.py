"""Rounds by hand, in this thread: what the parts of a runner do after each change."""

from collections.abc import Iterable
from pathlib import Path

from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.kernel_table import KernelTable
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.problems import ProblemFile, problems_of
from consul_ebpf.controller.reports import Reporter
from consul_ebpf.controller.round import Converger
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.seams import Applied, BootstrapRenderer, MapBackend
from consul_ebpf.model.values import PooledServer
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.vips import VipRange
from consul_ebpf.servers.known import KnownServers


class Rounds:
    """One process's account of kernel and files."""

    def __init__(
        self,
        directory: Path,
        backend: MapBackend,
        renderer: BootstrapRenderer | None = None,
        files: BootstrapFiles | None = None,
        known: KnownServers | None = None,
    ) -> None:
        self._kernel = KernelTable(backend, "host")
        self._converger = Converger(
            kernel=self._kernel,
            renderer=renderer or EnvoyBootstrap(),
            files=files or BootstrapFiles(directory),
            memory=VipMemory(directory),
            known=known,
            vips=VipRange(),
        )
        self._reporter = Reporter()
        self._problems = ProblemFile(directory)

    def resume(self) -> tuple[PooledServer, ...]:
        return self._converger.resume()

    def follow_states(self, servers: Iterable[PooledServer]) -> Applied:
        return self._kernel.follow_states(servers)

    def converge(self, inputs: Inputs) -> Converged:
        """Carry out these inputs, log and keep what is wrong."""
        prepared = self._converger.prepare(inputs)
        applied = sum(self._kernel.program(prepared.planned), Applied())
        done = self._converger.complete(prepared, applied)
        self._reporter.report(done)
        self._problems.save(problems_of(done.outcomes, done.missing))
        return done
