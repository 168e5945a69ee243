"""Resolves seeds: looks up names, runs commands; and the source that does so."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.retry import growing
from consul_ebpf.base.timing import timed
from consul_ebpf.config.seeds import Command, Name, Seed, parse_seed
from consul_ebpf.model.errors import ConfigError, ConsulError
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources import command, dns
from consul_ebpf.servers.sources.union import Found, Union

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Seconds after a failure; twice as long after each further one, up to `refresh`."""


class Resolver:
    """Resolves all seeds at once. What an answer leaves out of a name is kept a while.

    Args:
        seeds: as written in `consul.addresses`.
        grpc_port: used for a seed without a port.
        refresh: seconds until a command is run again.
        look_up: returns a name's servers; by default from DNS.

    Raises:
        ConfigError: a seed cannot be read, or there is none.
    """

    def __init__(
        self,
        seeds: Sequence[str],
        grpc_port: int,
        refresh: float,
        look_up: Callable[[Name, float], Awaitable[Found]] = dns.look_up,
    ) -> None:
        if not seeds:
            raise ConfigError("no server given: set consul.addresses")
        self._seeds = tuple(parse_seed(text, grpc_port) for text in seeds)
        self._texts = tuple(seeds)
        self._refresh = refresh
        self._look_up = look_up
        self._names: dict[Name, Union] = {}
        self._left_out = Reasons(logger, "list_refused")

    def __repr__(self) -> str:
        return f"<Resolver {', '.join(self._texts)}>"

    async def resolve(self) -> tuple[tuple[Server, ...], float, tuple[str, ...]]:
        """Return the servers, when to ask again, and why some seeds failed."""
        answers = await asyncio.gather(
            *map(self._bounded, self._seeds, self._texts), return_exceptions=True
        )
        servers: dict[str, Server] = {}
        pause, failures = self._refresh, []
        left_out: list[str] = []
        for answer in answers:
            if isinstance(answer, ConsulError):
                failures.append(str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                servers.update((each.id, each) for each in answer.servers)
                pause = min(pause, answer.again)
                left_out += answer.left_out
        self._left_out.report(left_out)
        return tuple(servers.values()), pause, tuple(failures)

    async def _bounded(self, seed: Seed, text: str) -> Found:
        with boundary(ConsulError, one_line(text, 100)):
            return await self._resolve(seed)

    async def _resolve(self, seed: Seed) -> Found:
        if isinstance(seed, Name):
            found = await self._look_up(seed, self._refresh)
            union = self._names.setdefault(seed, Union())
            now = asyncio.get_running_loop().time()
            return found._replace(servers=union.add(found, now))
        if isinstance(seed, Command):
            return await command.run(seed, self._refresh)
        return Found((seed,), float("inf"))


class ResolvingSource:
    """A `ServerSource` of names and commands: it does not ask Consul.

    It is for servers behind a load balancer, and for all that have a name. After a
    failure the last known servers stay.
    """

    def __init__(self, resolver: Resolver, refresh: float = 60.0) -> None:
        """Ask `resolver` when it says; after a failure within `refresh` seconds."""
        self._resolver = resolver
        self._refresh = refresh
        self._lost = asyncio.Event()
        self._hurried = 0

    def __repr__(self) -> str:
        return f"<ResolvingSource {self._resolver!r}>"

    def look_again(self) -> None:
        """Ask early, because none of the servers answers. See `Rechecks`."""
        self._lost.set()

    async def watch(self) -> AsyncGenerator[tuple[Server, ...], None]:
        """Yield the whole list at once and again after each change, for ever."""
        reasons = Reasons(logger, "source_failed")
        last: tuple[Server, ...] = ()
        failed = 0
        while True:
            with timed("discovery"):
                servers, pause, failures = await self._resolver.resolve()
            reasons.report(f"{each}; keeping what is known" for each in failures)
            servers = tuple(sorted(servers, key=lambda each: each.id))
            if failures:
                # The servers of a seed that failed are kept.
                known = {each.id: each for each in (*last, *servers)}
                servers = tuple(known[key] for key in sorted(known))
                pause = growing(failed, RETRY_SECONDS, self._refresh)
                failed += 1
            else:
                failed = 0
            if servers and servers != last:
                last = servers
                yield servers
            await self._rest(pause)

    async def _rest(self, pause: float) -> None:
        """Sleep; while no server answers, not longer than after a failure."""
        least = growing(self._hurried, RETRY_SECONDS, pause)
        await asyncio.sleep(least)
        self._lost.clear()  # the pool says it again while it is so
        try:
            async with asyncio.timeout(pause - least):
                await self._lost.wait()
            self._hurried += 1
        except TimeoutError:
            self._hurried = 0
