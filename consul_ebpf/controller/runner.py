"""`Runner`: wires the parts and keeps the kernel and the files true.

One direction: the pool and the workload source put their newest whole value into one
cell, and each change of it is carried out by `converge`. What runs for ever is a task
of its own (`base.tasks`): an error that nobody foresaw ends that one for a moment.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity import wait_exponential_jitter as exponential_jitter

from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.tasks import keep_running
from consul_ebpf.base.threads import finish, to_end
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.cutting import Cutter
from consul_ebpf.controller.following import ProxyFollower
from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.problems import ProblemFile
from consul_ebpf.controller.reconnects import Moves
from consul_ebpf.controller.rotation import Rotator, written_by
from consul_ebpf.controller.round import Converger
from consul_ebpf.controller.tables import Tables
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.errors import (
    AlreadyRunningError,
    ConsulEbpfError,
    KernelError,
    UnsupportedError,
)
from consul_ebpf.model.seams import (
    BootstrapRenderer,
    MapBackend,
    Namespaces,
    WorkloadSource,
)
from consul_ebpf.model.values import KernelState, PooledServer, Vip
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.params import CentralConfig
from consul_ebpf.proxies.vips import NOTHING_RESERVED, Reserved
from consul_ebpf.servers.known import KnownServers
from consul_ebpf.servers.pool import ServerPool
from consul_ebpf.servers.sanity import VIP_NETWORK
from consul_ebpf.tokens.keeper import TokenKeeper

logger = logging.getLogger(__name__)

LOOK = 2.0
"""Seconds between looks which proxies connected anew; longer where there are many."""

TLS_CHECK = 1.0
"""Seconds between looks at the TLS files."""

UPKEEP = 2.0
"""Seconds between looks at what is attached and pinned, and at namespaces; and between
pings of the watchdog."""

FILES_AGAIN = 5.0
"""Seconds until files that could not be written are tried again."""

READY_SECONDS = 2.0
"""From the start to being ready at the latest, with whatever is known by then."""

MISSING_SECONDS = 1.0
"""Between looks at what is missing."""

STUCK_SECONDS = 30.0
"""A piece of work that has not gone on for so long is stuck: the ping ends."""

CANNOT_GO_ON = (AlreadyRunningError, UnsupportedError)
"""Errors of the kernel's side after which there is nothing left to do but to end."""

NOBODY = "no server is known, so no proxy can be served"

OnConverged = Callable[[Converged], None]

Work = Callable[[], Awaitable[None]]
"""A part's `run`."""

T = TypeVar("T")


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
        reserved: addresses of the range that no proxy may be given.
        memory: remembers which VIP is whose.
        known: remembers the servers, for a start while Consul is away.
        problems: tells others what is wrong; None: only the log does.
        seed: different on each host, the same after a restart.
        keeper: keeps the proxies' ACL tokens; None: the servers ask for none.
        central: asks Consul about the bootstraps; None: they are made without.
        tls: returns what Envoys verify servers with; None: plaintext.
        namespaces: looks into the proxies' network namespaces.
        destroy_sockets: cut connections to dead servers, by `namespaces`.
        progress: notes which work is under way.
        cells: what flows between the parts; None: made here.
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
        network: IPv4Network = VIP_NETWORK,
        port: int = 8502,
        reserved: Reserved = NOTHING_RESERVED,
        seed: str = "",
        keeper: TokenKeeper | None = None,
        central: CentralConfig | None = None,
        tls: Callable[[], TlsMaterial] | None = None,
        namespaces: Namespaces | None = None,
        destroy_sockets: bool = True,
        progress: Progress | None = None,
        cells: Cells | None = None,
    ) -> None:
        self.cells = cells or Cells()
        """What flows between the parts, to be read by others."""
        self._pool = pool
        self._keeper = keeper
        self._central = central
        self._tls = tls
        self._converger = Converger(
            backend=backend,
            renderer=renderer,
            files=files,
            memory=memory,
            known=known,
            problems=problems,
            network=network,
            port=port,
            reserved=reserved,
            seed=seed,
        )
        self._progress = progress or Progress()
        self._tables = Tables(backend, self._progress)
        self._inputs: Latest[Inputs] = Latest()
        self._proxies = ProxyFollower(
            workloads,
            namespaces,
            inputs=self._inputs,
            cell=self.cells.proxies,
        )
        cuts = namespaces if destroy_sockets else None
        self._cutter = Cutter(self.read, cuts)
        self._rotator: Rotator | None = None
        if keeper is not None:
            self._rotator = Rotator(keeper, self.read, self._tables.stay, cuts)
        self._servers: Latest[tuple[PooledServer, ...]] = Latest()
        """The pool's."""
        self._carried_out: Inputs | None = None
        """The inputs of the newest round that was carried out."""
        self._files_turn = asyncio.Lock()
        self._programmed: Latest[tuple[PooledServer, ...]] = Latest()
        """The servers as the kernel has them."""
        self._ids: dict[Vip, str] = {}
        """The programmed proxies' ids."""
        self._last: Converged | None = None
        """What was told last."""
        self._refusal = ""
        """Why the kernel does not take the newest table."""

    def __repr__(self) -> str:
        return f"<Runner {self._pool!r} -> {self._converger!r}>"

    @property
    def tokens_made(self) -> dict[str, float]:
        """When the logins' tokens were made, Unix time, by proxy key."""
        return self._keeper.made if self._keeper else {}

    async def run(
        self,
        on_converged: OnConverged | None = None,
        on_upkeep: Callable[[], None] | None = None,
        parts: Mapping[str, Work] = MappingProxyType({}),
    ) -> None:
        """Serve until cancelled.

        Args:
            on_converged: hears of each change carried out; first within
                `READY_SECONDS`, with whatever is known by then.
            on_upkeep: called every `UPKEEP` seconds while work gets done: not while
                the kernel, a disk or this loop is stuck.
            parts: more to run beside, by name; each is started again when it fails.

        Raises:
            ConsulEbpfError: the kernel's side cannot go on; what is programmed stays.
        """
        self._inputs.set(await finish(self._converger.resume))
        work = {**self._work(), **parts}
        if on_converged is not None:
            tell = functools.partial(_call_for_each, self.cells.outcome, on_converged)
            work["on_converged"] = tell
        if on_upkeep is not None:
            ping = functools.partial(
                _call_for_each, self.cells.alive, lambda _: on_upkeep()
            )
            work["on_upkeep"] = ping
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, part in work.items():
                    tasks.create_task(
                        keep_running(name, part, fatal=CANNOT_GO_ON), name=name
                    )
        except BaseExceptionGroup as group:
            # One part's failure cancelled the others: it is the one to tell.
            raise group.exceptions[0] from group

    def _work(self) -> dict[str, Work]:
        """Return all that runs for ever, by name."""
        work: dict[str, Work] = {
            "servers": self._follow_servers,
            "server states": self._follow_states,
            "proxies": self._proxies.follow,
            "bindings": lambda: self._proxies.look_again(UPKEEP),
            "rounds": self._converge_each,
            "missing": self._watch_missing,
            "upkeep": self._keep_up,
            "files": self._look_at_files,
            "moves": self._watch_moves,
            "cuts": lambda: self._cutter.follow(self._programmed),
            "watchdog": self._watch_progress,
        }
        if self._tls is not None:
            work["TLS files"] = self._follow_tls
        if self._keeper is not None and self._rotator is not None:
            work["tokens"] = self._keeper.run
            work["new tokens"] = self._follow_tokens
            work["rotation"] = self._rotator.run
        if self._central is not None:
            work["central configuration"] = self._central.run
            work["new bootstraps"] = self._follow_central
        return work

    async def _follow_servers(self) -> None:
        async for servers in self._pool:
            self._servers.set(servers)
            self._put(servers=servers)
        raise ConsulEbpfError("the pool of servers ended; it never should")

    async def _follow_states(self) -> None:
        """Write server states at once, whatever a round is doing meanwhile."""
        async for servers in self._servers.changes():
            with contextlib.suppress(KernelError):  # a round tries again, and says so
                await self._write_states(servers)

    async def _write_states(self, servers: tuple[PooledServer, ...]) -> None:
        kernel = self._converger.kernel
        await self._tables.use(
            "writing server states", lambda _: kernel.follow_states(servers)
        )
        self._programmed.set(kernel.programmed(servers))

    async def _follow_tls(self) -> None:
        assert self._tls is not None  # noqa: S101  # else this is no work
        while True:
            self._put(tls=await asyncio.to_thread(self._tls))
            await asyncio.sleep(TLS_CHECK)

    async def _follow_tokens(self) -> None:
        assert self._keeper is not None  # noqa: S101  # else this is no work
        async for tokens in self._keeper.tokens.changes():
            self._put(tokens=tokens)

    async def _follow_central(self) -> None:
        assert self._central is not None  # noqa: S101  # else this is no work
        async for params in self._central.params.changes():
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
            self._note_reconnects(again)

    def _note_reconnects(self, again: tuple[Vip, ...]) -> None:
        cell, last = self.cells.reconnected, self.cells.outcome.value
        if again and last is not None:
            keys = {each.vip: each.proxy.key for each in last.placed}
            before = cell.value or {}
            times = {key: before[key] for key in keys.values() if key in before}
            for key in (keys[vip] for vip in again if vip in keys):
                times[key] = times.get(key, 0) + 1
            cell.set(times)

    async def _keep_up(self) -> None:
        """Put back what others took away from the kernel, and say so."""
        reasons = Reasons(logger, "kernel_refused")
        while True:
            await asyncio.sleep(UPKEEP)
            try:
                mended = await self._tables.mend()
                reasons.report(())
            except KernelError as error:
                reasons.report((str(error),))
            else:
                for line in mended:
                    logger.warning("%s", line, extra=event("mended"))

    async def _look_at_files(self) -> None:
        """Have a round write again what somebody else removed or changed."""
        while True:
            await asyncio.sleep(UPKEEP)
            async with self._files_turn:
                wrong = await finish(self._converger.look_at_files)
            if wrong:
                self._try_again()

    async def _watch_progress(self) -> None:
        """Say that work gets done, as long as it does."""
        reasons = Reasons(logger, "stuck")
        while True:
            await asyncio.sleep(UPKEEP)
            stuck = self._progress.stuck(STUCK_SECONDS)
            reasons.report(
                f"{each} has not gone on for {STUCK_SECONDS:g} s" for each in stuck
            )
            if not stuck:
                self.cells.alive.set(self.cells.alive.version + 1)

    def _put(self, **changed: object) -> None:
        current = self._inputs.value or Inputs()
        self._inputs.set(replace(current, **changed))  # type: ignore[arg-type]

    async def _converge_each(self) -> None:
        """Carry out the newest inputs; a kernel that refuses is asked again."""
        loop = asyncio.get_running_loop()
        insist = AsyncRetrying(
            retry=retry_if_exception_type(KernelError),
            wait=exponential_jitter(initial=0.5, max=30),
            before_sleep=self._note_refusal,
        )
        async for _ in self._inputs.changes():
            done: Converged | None = await insist(self._converge_newest)
            if done is None:
                continue
            self._refusal, self._last = "", done
            self.cells.outcome.set(done)
            if not done.complete:
                loop.call_later(FILES_AGAIN, self._try_again)

    def _try_again(self) -> None:
        """Have another round, of the same inputs."""
        inputs = self._inputs.value or Inputs()
        self._put(attempt=inputs.attempt + 1)

    async def _converge_newest(self) -> Converged | None:
        """Carry out the inputs as they are now; None while not all are known."""
        inputs = self._inputs.value or Inputs()
        # First, before anything goes through all proxies.
        await self._write_states(self._servers.value or inputs.servers or ())
        inputs = self._inputs.value or Inputs()
        if inputs is self._carried_out or not inputs.complete:
            return None
        if self._tls is not None and inputs.tls is None:
            return None
        # To its end, even when cancelled: tables and files then agree.
        done = await to_end(asyncio.ensure_future(self._round(inputs)))
        self._carried_out = inputs
        newest = self._servers.value or inputs.servers or ()
        self._programmed.set(self._converger.kernel.programmed(newest))
        last = self._last
        if last and done.outcomes is last.outcomes and done.kept == last.kept:
            return done
        self._ids = {each.vip: each.proxy.name for each in done.placed}
        if self._rotator is not None:
            self._rotator.written.set(written_by(done))
        return done

    async def _round(self, inputs: Inputs) -> Converged:
        """Carry out these inputs; others may use the tables but for a short moment."""
        converger = self._converger
        with self._progress.working("planning a round"):
            prepared = await finish(lambda: converger.prepare(inputs))
        applied = await self._tables.use(
            "a round", lambda _: converger.program(prepared)
        )
        async with self._files_turn:
            with self._progress.working("writing files") as step:
                return await finish(lambda: converger.complete(prepared, applied, step))

    def _note_refusal(self, state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        self._refusal = "the kernel does not take the newest table, as the log says"
        logger.warning(
            "%s (attempt %d)",
            error,
            state.attempt_number,
            extra=event("kernel_refused"),
        )

    async def _watch_missing(self) -> None:
        """Tell what is missing, and in time that we serve what is known."""
        await asyncio.sleep(READY_SECONDS)
        while True:
            missing = self._missing()
            last = self._last
            if last is None or missing != last.missing:
                self._converger.missing = missing
                self._last = now = replace(last or Converged(0, 0, 0), missing=missing)
                self.cells.outcome.set(now)
                await finish(functools.partial(self._converger.tell, now))
            await asyncio.sleep(MISSING_SECONDS)

    def _missing(self) -> tuple[str, ...]:
        """Return what is lacking to serve all, a line each."""
        inputs = self._inputs.value or Inputs()
        lines = []
        if not self._pool.answered:
            instead = "the last known servers are used" if inputs.servers else NOBODY
            lines.append(f"Consul has not answered yet: {instead}")
        elif inputs.servers is None:
            lines.append(f"the source of servers names none that can be used: {NOBODY}")
        if self._tls is not None and inputs.tls is None:
            lines.append("the TLS files cannot be used yet: nothing can be served")
        lines += self._proxies.missing
        if self._refusal:
            lines.append(self._refusal)
        return tuple(lines)

    async def read(self) -> KernelState:
        """Read the tables and their counters, beside whoever writes."""
        return await self._tables.read()


async def _call_for_each(cell: Latest[T], call: Callable[[T], None]) -> None:
    async for value in cell.changes():
        call(value)
