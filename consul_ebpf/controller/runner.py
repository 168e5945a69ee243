"""`Runner`: wires the parts and keeps the kernel and the files true.

One direction: the pool and the workload source put their newest whole value into one
cell, and each change of it is carried out by `converge`.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Network

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity import wait_exponential_jitter as exponential_jitter

from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.threads import finish
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.cutting import Cutter
from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.reconnects import Moves
from consul_ebpf.controller.rotation import Rotator, Written
from consul_ebpf.controller.round import Converged, Converger
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel.pods import Binder
from consul_ebpf.model.errors import ConsulEbpfError, KernelError
from consul_ebpf.model.seams import (
    BootstrapRenderer,
    MapBackend,
    Namespaces,
    WorkloadSource,
)
from consul_ebpf.model.values import KernelState, PooledServer, Proxy, Vip
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.params import CentralConfig
from consul_ebpf.servers.known import KnownServers
from consul_ebpf.servers.pool import VIP_NETWORK, ServerPool
from consul_ebpf.tokens.keeper import TokenKeeper, Tokens
from consul_ebpf.tokens.keys import key_of

logger = logging.getLogger(__name__)

LOOK = 2.0
"""Seconds between looks which proxies connected anew; longer where there are many."""

TLS_CHECK = 1.0
"""Seconds between looks at the TLS files."""

UPKEEP = 2.0
"""Seconds between looks at what is attached and pinned, and at namespaces."""

FILES_AGAIN = 5.0
"""Seconds until files that could not be written are tried again."""


class Runner:
    """Serves the proxies of a `WorkloadSource` with the servers of a `ServerPool`.

    Args:
        pool: started by the runner.
        workloads: the proxies.
        backend: the opened tables; the caller closes it after `run`.
        renderer: makes the bootstraps.
        files: where they are written.
        network: the VIPs' range.
        port: the VIPs' port.
        memory: remembers which VIP is whose.
        known: remembers the servers, for a start while Consul is away.
        seed: different on each host, the same after a restart.
        keeper: keeps the proxies' ACL tokens; None: the servers ask for none.
        central: asks Consul about the bootstraps; None: they are made without.
        tls: returns what Envoys verify servers with; None: plaintext.
        namespaces: looks into the proxies' network namespaces.
        destroy_sockets: cut connections to dead servers, by `namespaces`.
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
        network: IPv4Network = VIP_NETWORK,
        port: int = 8502,
        seed: str = "",
        keeper: TokenKeeper | None = None,
        central: CentralConfig | None = None,
        tls: Callable[[], TlsMaterial] | None = None,
        namespaces: Namespaces | None = None,
        destroy_sockets: bool = True,
    ) -> None:
        self._pool = pool
        self._workloads = workloads
        self._keeper = keeper
        self._central = central
        self._tls = tls
        self._converger = Converger(
            backend=backend,
            renderer=renderer,
            files=files,
            memory=memory,
            known=known,
            network=network,
            port=port,
            seed=seed,
        )
        self._backend = backend
        self._kernel = asyncio.Lock()
        """Held by whoever uses the backend: one caller at a time."""
        self._cutter = Cutter(self.read, namespaces if destroy_sockets else None)
        self._programmed: Latest[tuple[PooledServer, ...]] = Latest()
        """The servers as the kernel has them."""
        self._ids: dict[Vip, str] = {}
        """The programmed proxies' ids."""
        self._binder = Binder(namespaces)
        self._binding = asyncio.Lock()
        self._inputs: Latest[Inputs] = Latest()
        self._rotator: Rotator | None = None
        if keeper is not None:
            self._rotator = Rotator(
                keeper,
                self.read,
                self._stay,
                namespaces if destroy_sockets else None,
            )

    def __repr__(self) -> str:
        return f"<Runner {self._pool!r} -> {self._converger!r}>"

    @property
    def tokens_made(self) -> dict[str, float]:
        """When the logins' tokens were made, Unix time, by proxy id."""
        return self._keeper.made if self._keeper else {}

    async def run(
        self,
        on_converged: Callable[[Converged], None] | None = None,
        on_upkeep: Callable[[], None] | None = None,
    ) -> None:
        """Serve until cancelled.

        Args:
            on_converged: hears of each change carried out.
            on_upkeep: called every `UPKEEP` seconds while all is well: not while the
                kernel, a disk or this loop is stuck.

        Raises:
            ConsulEbpfError: a part failed for good; what is programmed stays.
        """
        self._inputs.set(await finish(self._converger.resume))
        work = {
            "servers": self._follow_servers(),
            "proxies": self._follow_proxies(),
            "converge": self._converge_each(on_converged),
            "upkeep": self._keep_up(on_upkeep),
            "moves": self._watch_moves(),
            "cutter": self._cutter.follow(self._programmed),
        }
        if self._tls is not None:
            self._put(tls=await asyncio.to_thread(self._tls))
            work["tls"] = self._follow_tls(self._tls)
        if self._keeper is not None and self._rotator is not None:
            work["tokens"] = self._keeper.run()
            work["new tokens"] = self._follow_tokens(self._keeper)
            work["rotation"] = self._rotator.run()
        if self._central is not None:
            work["central configuration"] = self._central.run()
            work["new bootstraps"] = self._follow_central(self._central)
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, task in work.items():
                    tasks.create_task(task, name=name)
        except BaseExceptionGroup as group:
            # One part's failure cancelled the others: it is the one to tell.
            raise group.exceptions[0] from group

    async def _follow_servers(self) -> None:
        async for servers in self._pool:
            self._put(servers=servers)
        raise ConsulEbpfError("the pool of servers ended; it never should")

    async def _follow_tls(self, tls: Callable[[], TlsMaterial]) -> None:
        while True:
            await asyncio.sleep(TLS_CHECK)
            self._put(tls=await asyncio.to_thread(tls))

    async def _follow_tokens(self, keeper: TokenKeeper) -> None:
        async for tokens in keeper.tokens.changes():
            self._put(tokens=tokens)
            self._ask_consul()

    async def _follow_central(self, central: CentralConfig) -> None:
        async for params in central.params.changes():
            self._put(params=params)

    async def _watch_moves(self) -> None:
        """See who connects anew: a token that is refused may be the reason."""
        moves = Moves()
        while True:
            await asyncio.sleep(max(LOOK, len(self._ids) / 500))
            try:
                again = moves.see(await self.read(), self._ids)
            except KernelError:
                continue  # the upkeep says so
            if self._rotator is not None:
                self._rotator.doubt(again)

    def _ask_consul(self) -> None:
        """Have Consul asked about the proxies that have their token."""
        inputs = self._inputs.value or Inputs()
        if self._central is None or inputs.proxies is None:
            return
        tokens = inputs.tokens or Tokens()
        self._central.want(
            {
                proxy: tokens.secrets.get(key_of(proxy), "")
                for proxy in inputs.proxies
                if key_of(proxy) not in tokens.needed or key_of(proxy) in tokens.secrets
            }
        )

    async def _follow_proxies(self) -> None:
        async for proxies in self._workloads.watch():
            if self._keeper is not None:
                self._keeper.want(proxies)
                self._put(tokens=self._keeper.tokens.value)
            await self._bind(proxies)
            self._ask_consul()
        raise ConsulEbpfError("the source of proxies ended; it never should")

    async def _bind(self, proxies: tuple[Proxy, ...] | None = None) -> None:
        """Take these proxies, or look again at those there are: whose VIP is whose."""
        async with self._binding:
            if proxies is None:
                proxies = (self._inputs.value or Inputs()).proxies
            if proxies is not None:
                found = await finish(functools.partial(self._binder.look, proxies))
                self._put(proxies=proxies, bindings=found)

    async def _keep_up(self, on_upkeep: Callable[[], None] | None) -> None:
        """Put back what others took away from the kernel, and say so."""
        reasons = Reasons(logger, "kernel_refused")
        while True:
            await asyncio.sleep(UPKEEP)
            try:
                async with self._kernel:
                    mended = await finish(self._backend.mend)
                reasons.report(())
            except KernelError as error:
                reasons.report((str(error),))
            else:
                for line in mended:
                    logger.warning("%s", line, extra=event("mended"))
            await self._bind()
            if on_upkeep is not None:
                on_upkeep()

    def _put(self, **changed: object) -> None:
        current = self._inputs.value or Inputs()
        self._inputs.set(replace(current, **changed))  # type: ignore[arg-type]

    async def _converge_each(
        self, on_converged: Callable[[Converged], None] | None
    ) -> None:
        """Carry out the newest inputs; a kernel that refuses is asked again."""
        loop = asyncio.get_running_loop()
        insist = AsyncRetrying(
            retry=retry_if_exception_type(KernelError),
            wait=exponential_jitter(initial=0.5, max=30),
            before_sleep=_log_retry,
        )
        async for inputs in self._inputs.changes():
            done: Converged | None = await insist(self._converge_newest)
            if done is None:
                continue
            if on_converged is not None:
                on_converged(done)
            if not done.complete:
                again = functools.partial(self._put, attempt=inputs.attempt + 1)
                loop.call_later(FILES_AGAIN, again)

    async def _converge_newest(self) -> Converged | None:
        """Carry out the inputs as they are now; None while not all are known."""
        inputs = self._inputs.value or Inputs()
        if not inputs.complete:
            return None
        async with self._kernel:
            done = await finish(lambda: self._converger.converge(inputs))
        self._programmed.set(inputs.servers or ())
        self._ids = {each.vip: each.proxy.id for each in done.placed}
        if self._rotator is not None and done.complete:
            self._rotator.written.set(_written(done, inputs.tokens or Tokens()))
        return done

    async def _stay(self, vips: Sequence[Vip]) -> None:
        async with self._kernel:
            await finish(lambda: self._backend.stay(vips))

    async def read(self) -> KernelState:
        """Read the tables and their counters; one caller at a time uses the backend."""
        async with self._kernel:
            return await finish(self._backend.read)


def _written(done: Converged, tokens: Tokens) -> Written:
    """Return which token is in the files, and whose VIPs those are."""
    vips: dict[str, list[Vip]] = {}
    for each in done.placed:
        vips.setdefault(key_of(each.proxy), []).append(each.vip)
    return Written(
        {key: secret for key, secret in tokens.secrets.items() if key in vips},
        {key: tuple(each) for key, each in vips.items()},
    )


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    logger.warning(
        "%s (attempt %d)", error, state.attempt_number, extra=event("kernel_refused")
    )
