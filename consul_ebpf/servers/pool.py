"""The servers and their states: what a source lists and a probe finds, together."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from ipaddress import IPv4Network
from types import TracebackType
from typing import Self

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tasks import for_each, keep_running
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError
from consul_ebpf.model.seams import Health, HealthProbe, Rechecks, ServerSource
from consul_ebpf.model.values import GRPC, PooledServer, Server, ServerState, Service
from consul_ebpf.model.vips import VIP_NETWORK
from consul_ebpf.servers import membership
from consul_ebpf.servers.members import Rules, of_known, untested
from consul_ebpf.servers.pool_log import PoolLog
from consul_ebpf.servers.sanity import sane
from consul_ebpf.servers.subscribers import Subscribers


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings(Rules):
    """The pool's numbers; those of the rules are explained there."""

    interval: float = 1.0
    """Seconds between two probes of a server, with a tenth of jitter."""
    vip_network: IPv4Network = VIP_NETWORK
    """The range of the VIPs: no server can be in it."""


NO_LEADER = "it has no leader: cut off from the other servers"


class ServerPool:
    """Follows a source's servers, probes each of them, and tells its subscribers.

    `async for servers in pool:` yields the newest whole value, to any number of
    subscribers; a slow one misses values in between. The pool runs while somebody
    iterates, or inside `async with pool:`. Only a `ConfigError` stops it, and is raised
    to all who iterate. After any other error of the source or of a probe, the error is
    logged, and that source or that one probe is started again.

    The first value comes when each listed server was probed once. A value is never
    empty, and once a server was ready, one always is (`membership` has the rules).

    A pool is also a `ServerSource`, of the servers it takes from its own source: so the
    pool of another service of the same servers needs no watch of its own.
    """

    def __init__(
        self,
        source: ServerSource,
        probe: HealthProbe,
        *,
        settings: PoolSettings = PoolSettings(),
        known: Iterable[PooledServer] = (),
        service: Service = GRPC,
    ) -> None:
        """Join `source` and `probe`; the probe is closed when the pool stops.

        Args:
            source: lists the servers.
            probe: says whether the service of one answers.
            settings: the numbers.
            known: servers and states from an earlier run: the pool begins with them,
                published at once and probed, whether or not the source answers.
            service: what of the servers this is the pool of. Log lines of any other
                but gRPC begin with its name.
        """
        self._source = source
        self._probe = probe
        self._settings = settings
        self._service = service
        self._log = PoolLog(service)
        self._members = of_known(known)
        self._servers: tuple[PooledServer, ...] = ()
        self._subscribers: Subscribers[tuple[PooledServer, ...]] = Subscribers(
            "server pool", self._run
        )
        self._listed: Latest[tuple[Server, ...]] = Latest()
        """The newest list that is not empty; at first, the known servers."""
        if self._members:
            self._listed.set(tuple(each.server for each in self._members.values()))
        self._watched: Latest[Collection[str]] = Latest()
        self._verdicts: dict[str, str] = {}  # newest, in words
        self._answered = False

    def __repr__(self) -> str:
        count = Counter(pooled.state for pooled in self._servers)
        states = ", ".join(f"{count[state]} {state.value}" for state in ServerState)
        running = "running" if self._subscribers.running else "stopped"
        return f"<ServerPool {running}: {states}>"

    @property
    def servers(self) -> tuple[PooledServer, ...]:
        """The newest value, sorted by server id; empty before the first."""
        return self._servers

    @property
    def answered(self) -> bool:
        """Whether the source has given a list, be it empty."""
        return self._answered

    async def __aenter__(self) -> Self:
        """Start, unless somebody else has."""
        await self._subscribers.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop if nobody else uses it; raise what made it fail, if nothing else is."""
        await self._subscribers.__aexit__(kind, error, traceback)

    async def __aiter__(self) -> AsyncIterator[tuple[PooledServer, ...]]:
        """Yield the value there is, then each newer one, while the pool runs."""
        async with aclosing(self._subscribers.values()) as values:
            async for servers in values:
                yield servers

    async def watch(self) -> AsyncIterator[tuple[Server, ...]]:
        """Yield the usable servers of each list that has any, while the pool runs.

        Before there is a list, those that were known.
        """
        async with self:
            async for servers in self._listed.changes():
                yield servers

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                follow = keep_running("servers", self._follow, fatal=(ConfigError,))
                tasks.create_task(follow, name="server source")
                probes = for_each(
                    self._watched.changes(),
                    self._watch_health,
                    name=lambda id_: f"probe of {id_}",
                )
                tasks.create_task(probes, name="probes")
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._verdicts.clear()
            await self._probe.aclose()

    async def _follow(self) -> None:
        """Take each new list from the source."""
        self._settle()
        async for servers in self._source.watch():
            self._answered = True
            kept, rejected = sane(servers, self._settings.vip_network)
            self._log.report_refused(rejected)
            self._log.report_empty(len(self._members), empty=not kept)
            if kept:
                self._listed.set(kept)
            self._members = membership.with_list(
                self._members, kept, self._now(), self._settings
            )
            self._settle()
        raise ConsulEbpfError(f"server source {self._source!r} ended; it never should")

    async def _watch_health(self, id_: str) -> None:
        """Probe one server, until cancelled."""
        while True:
            begun = self._now()
            if member := self._members.get(id_):
                await self._look(id_, member.server)
            # Jitter, so that a host's probes do not fall into step with others'.
            pause = self._settings.interval * random.uniform(0.9, 1.1)  # noqa: S311
            await asyncio.sleep(begun + pause - self._now())

    async def _look(self, id_: str, server: Server) -> None:
        try:
            health = await self._probe.check(server)
        except Exception as error:
            # It goes on to whoever starts this anew; the server was not seen to work.
            self._judge(id_, server, Health(alive=False, reason=reason(error)))
            raise
        self._judge(id_, server, health)

    def _judge(self, id_: str, server: Server, health: Health) -> None:
        self._members = membership.with_verdict(
            self._members,
            server,
            health.alive,
            self._now(),
            self._settings,
            leader=health.leader,
            sure=health.sure,
        )
        self._verdicts[id_] = health.reason
        self._settle()

    def _settle(self) -> None:
        """Probe exactly the members, and publish them."""
        for id_ in self._verdicts.keys() - self._members.keys():
            del self._verdicts[id_]
        self._watched.set(frozenset(self._members))
        if self._subscribers.newest is None and untested(self._members):
            return  # a plan for the first of three servers would be thrown away
        servers = membership.pooled(
            self._members, self._now(), self._settings, self._service
        )
        if not servers:
            return
        self._log.report_states(self._servers, servers, self._why)
        self._note_panic()
        self._servers = servers
        self._subscribers.publish(servers)

    def _why(self, server: Server) -> str | None:
        lost = membership.leaderless(self._members, self._now(), self._settings)
        return NO_LEADER if server.id in lost else self._verdicts.get(server.id)

    def _note_panic(self) -> None:
        panicking = membership.panicking(self._members, self._settings)
        why = next(iter(self._verdicts.values()), "no reason")
        self._log.report_panic(why, panicking=panicking)
        if panicking and isinstance(self._source, Rechecks):
            self._source.look_again()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
