"""`Runner`: wires the parts and keeps the kernel and the files true.

One direction: the pool and the workload source put their newest whole value into one
cell; each change of it is planned, programmed into the kernel and only then rendered,
so no Envoy starts on a VIP that leads nowhere.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity import wait_exponential_jitter as exponential_jitter

from consul_ebpf._errors import ConsulEbpfError, InvalidProxyError, KernelError
from consul_ebpf._latest import Latest
from consul_ebpf._protocols import BootstrapRenderer, MapBackend, WorkloadSource
from consul_ebpf._values import (
    PlacedProxy,
    PooledServer,
    Proxy,
    ServerState,
    Table,
    Vip,
)
from consul_ebpf.discovery.pool import VIP_NETWORK, ServerPool
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.planning.plan import plan
from consul_ebpf.planning.slots import assign_slots
from consul_ebpf.workloads.memory import VipMemory
from consul_ebpf.workloads.vips import ProxyKey, allocate

logger = logging.getLogger(__name__)

T = TypeVar("T")
TOKEN_CHECK = 2.0  # seconds between looks at the proxies' ACL token


@dataclass(frozen=True, slots=True)
class _Inputs:
    """All that a table and the files are made of; None: not known yet."""

    servers: tuple[PooledServer, ...] | None = None
    proxies: tuple[Proxy, ...] | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Converged:
    """What the newest inputs came to."""

    servers: int
    """Ready ones."""
    proxies: int
    """Programmed ones."""
    refused: int
    """Proxies that cannot be served; the log says why."""


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
        seed: different on each host, the same after a restart.
        token: returns the proxies' ACL token; asked again every few seconds.
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
        network: IPv4Network = VIP_NETWORK,
        port: int = 8502,
        seed: str = "",
        token: Callable[[], str | None] | None = None,
    ) -> None:
        self._pool = pool
        self._workloads = workloads
        self._backend = backend
        self._renderer = renderer
        self._files = files
        self._memory = memory
        self._network = network
        self._port = port
        self._seed = seed
        self._token = token
        self._inputs: Latest[_Inputs] = Latest()
        self._table = Table()
        self._remembered: Mapping[ProxyKey, Vip] = {}
        self._newest_slot = -1
        self._refusals: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Runner {self._pool!r} -> {self._backend!r}>"

    async def run(
        self, on_converged: Callable[[Converged], None] | None = None
    ) -> None:
        """Serve until cancelled; `on_converged` hears of each change carried out.

        Raises:
            ConsulEbpfError: a part failed for good; what is programmed stays.
        """
        kernel = await finish(self._backend.read)
        self._table = kernel.table
        self._remembered = await asyncio.to_thread(self._memory.load)
        inputs = _Inputs()
        if kernel.table.servers:
            # A restart while Consul is away: what the kernel has is the last known
            # good list, and new proxies are served from it.
            known = tuple(
                PooledServer(entry.server, entry.state)
                for entry in kernel.table.servers.values()
            )
            inputs = replace(inputs, servers=known)
        self._inputs.set(inputs)
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, task in (
                    ("servers", self._follow(self._pool.__aiter__(), "servers")),
                    ("proxies", self._follow(self._workloads.watch(), "proxies")),
                    ("converge", self._converge_each(on_converged)),
                    ("token", self._follow_token()),
                ):
                    tasks.create_task(task, name=name)
        except BaseExceptionGroup as group:
            # One part's failure cancelled the others: it is the one to tell.
            raise group.exceptions[0] from group

    async def _follow(self, values: AsyncIterator[T], name: str) -> None:
        async for value in values:
            self._put(**{name: value})
        raise ConsulEbpfError(f"the source of {name} ended; it never should")

    async def _follow_token(self) -> None:
        while self._token is not None:
            try:
                self._put(token=await asyncio.to_thread(self._token))
            except ConsulEbpfError as error:
                logger.warning("the proxies' ACL token stays as it was: %s", error)
            await asyncio.sleep(TOKEN_CHECK)

    def _put(self, **changed: object) -> None:
        current = self._inputs.value or _Inputs()
        self._inputs.set(replace(current, **changed))  # type: ignore[arg-type]

    async def _converge_each(
        self, on_converged: Callable[[Converged], None] | None
    ) -> None:
        """Carry out the newest inputs; a kernel that refuses is asked again."""
        insist = AsyncRetrying(
            retry=retry_if_exception_type(KernelError),
            wait=exponential_jitter(initial=0.5, max=30),
            before_sleep=_log_retry,
        )
        async for _ in self._inputs.changes():
            done: Converged | None = await insist(self._converge_newest)
            if done is not None and on_converged is not None:
                on_converged(done)

    async def _converge_newest(self) -> Converged | None:
        """Carry out the inputs as they are now; None while not all are known."""
        inputs = self._inputs.value or _Inputs()
        if inputs.servers is None or inputs.proxies is None:
            return None
        if self._token is not None and inputs.token is None:
            return None
        return await finish(lambda: self._converge(inputs))

    def _converge(self, inputs: _Inputs) -> Converged:
        """Plan, program, render. Blocking; runs in a thread of its own."""
        begun = time.perf_counter()
        servers, proxies = inputs.servers or (), inputs.proxies or ()
        refusals: dict[str, str] = {}
        placed = self._place(proxies, refusals)
        bootstraps = {}
        for each in placed:
            try:
                bootstraps[each] = self._renderer.render(each)
            except InvalidProxyError as error:
                refusals[each.proxy.id] = str(error)

        slotted = assign_slots(servers, self._table.servers, self._newest_slot)
        vips = (each.vip for each in bootstraps)
        table = Table(slotted, plan(vips, slotted, self._table.vips, self._seed))
        applied = self._backend.apply(table)
        self._newest_slot = _newest(self._table, table, self._newest_slot)
        self._table = table

        written = 0
        for each, bootstrap in bootstraps.items():
            try:
                if inputs.token is not None:
                    self._files.write_token(each.proxy, inputs.token)
                written += self._files.write(each, bootstrap) is not None
            except ConsulEbpfError as error:
                refusals[each.proxy.id] = str(error)
        gone = self._files.prune({each.proxy.id for each in bootstraps})
        self._report(refusals)
        ready = sum(entry.state is ServerState.READY for entry in slotted.values())
        if applied or written or gone:
            logger.info(
                "programmed %d servers (%d ready) and %d proxies in %.0f ms: "
                "%d server rows, %d VIPs put, %d removed; %d bootstraps written",
                len(slotted),
                ready,
                len(bootstraps),
                (time.perf_counter() - begun) * 1000,
                applied.servers,
                applied.vips_put,
                applied.vips_removed,
                written,
            )
        return Converged(ready, len(bootstraps), len(refusals))

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

    def _report(self, refusals: dict[str, str]) -> None:
        """Log each refusal once, and its end."""
        for proxy_id, reason in refusals.items():
            if self._refusals.get(proxy_id) != reason:
                logger.error("not served: %s", reason)
        for proxy_id in self._refusals.keys() - refusals.keys():
            logger.info("no longer refused: proxy %s", proxy_id)
        self._refusals = refusals


def _newest(before: Table, after: Table, newest: int) -> int:
    """Return the slot given last."""
    fresh = [slot for slot in after.servers if slot not in before.servers]
    return fresh[-1] if fresh else newest


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    logger.warning("%s (attempt %d)", error, state.attempt_number)


async def finish(
    work: Callable[[], T], undo: Callable[[T], object] = lambda _: None
) -> T:
    """Run blocking work in a thread, to its end even when cancelled meanwhile.

    Then its result is given to `undo`, as nobody else will see it.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if task.exception() is None:
            undo(task.result())
        raise
