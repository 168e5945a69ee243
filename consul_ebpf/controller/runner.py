"""`Runner`: makes the cells and the parts of a controller, and starts them."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

from consul_ebpf.base.filling import call_for_each, fill_by, fill_from
from consul_ebpf.base.progress import Progress
from consul_ebpf.base.tasks import Work, keep_all_running
from consul_ebpf.base.threads import finish
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.cutting import Cutter
from consul_ebpf.controller.dns import DnsService
from consul_ebpf.controller.following import BindingFollower, ProxyFollower
from consul_ebpf.controller.gaps import Gaps
from consul_ebpf.controller.kernel_table import KernelTable
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.problems import ProblemFile
from consul_ebpf.controller.reconnects import Reconnects
from consul_ebpf.controller.reports import Reports
from consul_ebpf.controller.rotation import Rotator
from consul_ebpf.controller.round import Converger
from consul_ebpf.controller.rounds import Rounds
from consul_ebpf.controller.states import ServerStates
from consul_ebpf.controller.tables import Tables
from consul_ebpf.controller.trimming import Trimmer
from consul_ebpf.controller.upkeep import Upkeep
from consul_ebpf.controller.watchdog import Watchdog
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.errors import AlreadyRunningError, UnsupportedError
from consul_ebpf.model.seams import (
    BootstrapRenderer,
    MapBackend,
    Namespaces,
    WorkloadSource,
)
from consul_ebpf.model.values import DNS_NAME, GRPC
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.params import CentralConfig
from consul_ebpf.proxies.vips import VipRange
from consul_ebpf.servers.known import KnownServers
from consul_ebpf.servers.pool import ServerPool
from consul_ebpf.tokens.keeper import TokenKeeper

TLS_LOOK_SECONDS = 1.0
"""Between two looks at the TLS files."""

FILES_LOOK_SECONDS = 2.0
"""Between two looks at some of the proxies' files."""

CANNOT_GO_ON = (AlreadyRunningError, UnsupportedError)
"""Errors of the kernel's side after which the controller must end."""


class Runner:
    """Serves the proxies of a `WorkloadSource` with the servers of a `ServerPool`.

    Args:
        pool: the servers; the runner starts it.
        workloads: the source of proxies.
        backend: the opened tables; the caller closes it after `run`.
        renderer: makes the bootstraps.
        files: writes the bootstraps and tokens.
        vips: the VIPs that proxies can have; None: the default range and port.
        memory: remembers each proxy's VIP.
        known: remembers the servers, for a start while Consul is away.
        problems: keeps what is wrong, for `status`; None: only the log says it.
        seed: different on each host, the same after a restart.
        keeper: keeps the proxies' ACL tokens; None: the servers ask for none.
        central: asks Consul for central configuration; None: nothing is asked.
        tls: returns what Envoys verify servers with; None: plaintext.
        namespaces: reaches into the proxies' network namespaces.
        destroy_sockets: cut connections to dead servers, by `namespaces`.
        progress: notes which work is under way.
        cells: the values that the parts exchange; None: new ones are made.
        dns: serves DNS, too; None: it is not served.
    """

    def __init__(
        self,
        *,
        pool: ServerPool,
        workloads: WorkloadSource,
        backend: MapBackend,
        renderer: BootstrapRenderer,
        files: BootstrapFiles,
        memory: VipMemory,
        known: KnownServers | None = None,
        problems: ProblemFile | None = None,
        vips: VipRange | None = None,
        seed: str = "",
        keeper: TokenKeeper | None = None,
        central: CentralConfig | None = None,
        tls: Callable[[], TlsMaterial] | None = None,
        namespaces: Namespaces | None = None,
        destroy_sockets: bool = True,
        progress: Progress | None = None,
        cells: Cells | None = None,
        dns: DnsService | None = None,
    ) -> None:
        self.cells = cells = cells or Cells()
        """The values that the parts exchange; others may read them."""
        progress = progress or Progress()
        kernel = KernelTable(backend, seed)
        self.tables = tables = Tables(kernel, progress, cells.rows)
        """The kernel's tables."""
        self._converger = Converger(
            kernel=kernel,
            renderer=renderer,
            files=files,
            memory=memory,
            known=known,
            vips=vips or VipRange(),
        )
        self.dns = dns
        """The service of DNS; None: it is not served."""
        self._keeper = keeper
        cuts = namespaces if destroy_sockets else None
        rounds = Rounds(
            self._converger,
            tables,
            cells,
            tokens=keeper.tokens if keeper else None,
            params=central.params if central else None,
            needs_tls=tls is not None,
            progress=progress,
        )
        gaps = Gaps(pool, workloads, cells, needs_tls=tls is not None)
        self._parts: dict[str, Work] = {
            "servers": lambda: fill_from(
                pool, cells.pooled, name="the pool of servers"
            ),
            "server states": ServerStates(tables, cells.pooled, cells.servers).run,
            "proxies": lambda: fill_from(
                workloads.watch(), cells.named, name="the source of proxies"
            ),
            "known proxies": ProxyFollower(workloads, cells.named, cells.proxies).run,
            "bindings": BindingFollower(namespaces, cells.proxies, cells.bindings).run,
            "files": lambda: fill_by(
                files.right.next_wrong, cells.wrong, seconds=FILES_LOOK_SECONDS
            ),
            "rounds": rounds.run,
            "missing": gaps.run,
            "reports": Reports(
                cells.done,
                cells.missing,
                problems,
                cells.outcome,
                denied=central.denied if central else None,
                pools={GRPC.name: cells.servers, DNS_NAME: cells.dns_pooled},
            ).run,
            "memory": Trimmer(cells.outcome).run,
            "upkeep": Upkeep(tables).run,
            "moves": Reconnects(
                tables, cells.outcome, cells.reconnected, cells.looked
            ).run,
            "cuts": Cutter(tables, cells.servers, cells.rows, cuts).run,
            "watchdog": Watchdog(progress, cells.alive).run,
        }
        if tls is not None:
            look = functools.partial(fill_by, tls, cells.tls, seconds=TLS_LOOK_SECONDS)
            self._parts["TLS files"] = look
        if keeper is not None:
            self._parts["tokens"] = keeper.run
            self._parts["rotation"] = Rotator(
                keeper.retired, cells.done, tables, cuts, cells.unused
            ).run
        if central is not None:
            self._parts["central configuration"] = central.run

    def __repr__(self) -> str:
        return f"<Runner {self._converger!r}>"

    @property
    def tokens_made(self) -> dict[str, float]:
        """When each login's token was made, in Unix time, by proxy key."""
        return self._keeper.made if self._keeper else {}

    @property
    def logins_queued(self) -> int:
        """How many logins wait for their turn."""
        return self._keeper.logins_queued if self._keeper else 0

    @property
    def logins_failing(self) -> int:
        """How many logins failed last, and are tried again."""
        return self._keeper.logins_failing if self._keeper else 0

    async def run(
        self,
        on_converged: Callable[[Converged], None] | None = None,
        parts: Mapping[str, Work] = MappingProxyType({}),
    ) -> None:
        """Serve until cancelled.

        Args:
            on_converged: is called with each outcome; first within `READY_SECONDS`,
                with whatever is known by then.
            parts: more parts to run, by name. Whatever one raises, it is started again.

        Raises:
            ConsulEbpfError: the kernel's side cannot go on; what is programmed stays.
        """
        if known := await finish(self._converger.resume):
            self.cells.pooled.set(known)
        beside = dict(parts)
        if self.dns is not None:
            beside["DNS"] = self.dns.run
        if on_converged is not None:
            tell = functools.partial(call_for_each, self.cells.outcome, on_converged)
            beside["on_converged"] = tell
        others = functools.partial(keep_all_running, beside)
        await keep_all_running({**self._parts, "others": others}, fatal=CANNOT_GO_ON)
