"""The servers by WatchServers, as consul-dataplane learns of them: over gRPC only."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from ipaddress import IPv4Network
from typing import Any

from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.retry import growing
from consul_ebpf.base.timing import done
from consul_ebpf.client.channels import ChannelFactory, target_of
from consul_ebpf.client.leader import knows_leader
from consul_ebpf.client.rpc import CallError
from consul_ebpf.client.token import TokenSource, no_token
from consul_ebpf.client.watch_servers import Listed, watch_servers
from consul_ebpf.model.errors import ConsulEbpfError, ConsulError, TokenPendingError
from consul_ebpf.model.names import VIP_NETWORK
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sanity import sane
from consul_ebpf.servers.sources.names import Resolver

logger = logging.getLogger(__name__)

FIRST = 5.0
"""Seconds that a server has to send its first list."""

LEAST, MOST = 0.5, 60.0
"""Seconds of the pause after a failure; it grows by half each time."""

LOOKS = 6
"""How often a server without a leader is asked again before it is left."""

LEADERLESS_SECONDS = 30.0
"""After so long without a leader a server is left; an election takes a few."""

PENDING = 0.2
"""Seconds between looks whether there is an ACL token now."""

ADVICE = {
    "UNIMPLEMENTED": "Consul is too old for it, or this is something else",
    "UNAUTHENTICATED": "it needs an ACL token (consul.credentials)",
    "PERMISSION_DENIED": "the ACL token is not accepted (consul.credentials)",
}
"""What to do, by gRPC's code."""


class WatchSource:
    """A `ServerSource`: asks one server at a time who the servers are.

    Until one has answered, the seeds themselves are the list, because a login may need
    a server first. When all known servers were tried in vain, the seeds are resolved
    again.

    Args:
        resolver: resolves the seeds.
        channels: makes channels to servers.
        grpc_port: of every server, because the lists name no ports.
        token: returns an ACL token; any valid one will do. Called before each try.
        explain: returns why there is no connection to a target, if it is known.
        vip_network: the range of the VIPs: no server can be in it.
        leaderless: seconds without a leader after which a server is left.
    """

    def __init__(
        self,
        resolver: Resolver,
        channels: ChannelFactory,
        *,
        grpc_port: int = 8502,
        token: TokenSource = no_token,
        explain: Callable[[str], str] = lambda _: "",
        vip_network: IPv4Network = VIP_NETWORK,
        leaderless: float = LEADERLESS_SECONDS,
    ) -> None:
        self._resolver = resolver
        self._channels = channels
        self._grpc_port = grpc_port
        self._token = token
        self._explain = explain
        self._vip_network = vip_network
        self._patience = leaderless
        self._left_out = Reasons(logger, "list_refused")
        self._bad_seeds = Reasons(logger, "list_refused")
        self._no_leader = Reasons(logger, "source_failed")
        self._leaderless: set[str] = set()

    def __repr__(self) -> str:
        return f"<WatchSource {self._resolver!r}>"

    async def watch(self) -> AsyncGenerator[tuple[Server, ...], None]:
        """Yield the whole list at once and again after each change, for ever."""
        failed = _Failures()
        last: tuple[Server, ...] = ()
        known: tuple[Server, ...] = ()
        untried: list[Server] = []
        while True:
            if not untried:
                seeds = await self._seeds(failed)
                untried = [*known, *seeds]
            server = untried[0] if untried else None
            try:
                token = await asyncio.to_thread(self._token)
            except ConsulEbpfError as error:
                server = None
                failed.without_token(error)
            if server is not None:
                del untried[0]
                async with aclosing(self._lists_of(server, token, failed)) as lists:
                    async for servers in lists:
                        # Whoever answered is asked again first; then the others.
                        others = [s for s in servers if s.endpoint != server.endpoint]
                        untried, known = [server, *others], servers
                        if servers != last:
                            last = servers
                            yield servers
                if failed.doubtful:
                    untried = [*untried[1:], *untried[:1]]
            if seeds and not last:
                last = seeds
                yield seeds
            await asyncio.sleep(failed.pause)

    async def _seeds(self, failed: "_Failures") -> tuple[Server, ...]:
        """Resolve the seeds, and keep those that the token may be sent to."""
        found, _, wrong = await self._resolver.resolve()
        failed.note(*wrong)
        seeds, rejected = sane(found, self._vip_network)
        self._bad_seeds.report(rejected)
        if not seeds:
            failed.note("no seed leads to an address that a server can have")
        return seeds

    async def _lists_of(
        self, server: Server, token: str | None, failed: "_Failures"
    ) -> AsyncGenerator[tuple[Server, ...], None]:
        """Yield one server's lists until something is wrong with it."""
        try:
            lists = _prompt(watch_servers(self._channels, server, token))
            async for listed in self._while_led(server, lists):
                servers = self._read(server, listed)
                if servers:  # the first list may be empty: it does not know yet
                    failed.over()
                    done("discovery")
                    yield servers
        except ConsulError as error:
            failed.doubtful = isinstance(error, _DoubtfulError)
            if server.endpoint in self._leaderless and failed.doubtful:
                failed.pause = random.uniform(LEAST, 2 * LEAST)  # noqa: S311
                return  # it was said
            code = error.code if isinstance(error, CallError) else ""
            advice = f": {ADVICE[code]}" if code in ADVICE else ""
            why = self._explain(target_of(server))
            failed.note(why or f"{error}{advice}")

    async def _while_led(
        self, server: Server, lists: AsyncGenerator[tuple[Listed, ...], None]
    ) -> AsyncGenerator[tuple[Listed, ...], None]:
        """Yield the lists until the server has known no leader for too long.

        Then it is cut off from the others, and its list will not change.
        """
        lost = asyncio.create_task(self._lose_leader(server))
        try:
            async with aclosing(lists):
                while True:
                    newest = asyncio.ensure_future(anext(lists))
                    if not await _first(newest, lost):
                        await lost  # raises what went wrong there
                        self._say_leader(server, leader=False)
                        raise _DoubtfulError(f"{server.endpoint}: it has no leader")
                    yield await newest
        finally:
            lost.cancel()
            await asyncio.wait([lost])

    async def _lose_leader(self, server: Server) -> None:
        """Return when the server has had no leader for too long."""
        loop = asyncio.get_running_loop()
        channel = self._channels(target_of(server))
        since: float | None = None
        try:
            while True:
                await asyncio.sleep(self._patience / LOOKS)
                knows = await knows_leader(channel, server.endpoint, FIRST)
                if knows is not False:
                    since = None
                    if knows:
                        self._say_leader(server, leader=True)
                    continue
                since = loop.time() if since is None else since
                if loop.time() >= since + self._patience:
                    return
        finally:
            await channel.close()

    def _say_leader(self, server: Server, *, leader: bool) -> None:
        """Log once for each server that it has no leader, until it has one again."""
        if leader:
            self._leaderless.discard(server.endpoint)
        else:
            self._leaderless.add(server.endpoint)
        self._no_leader.report(
            f"WatchServers: {each} has no leader; asking another server"
            for each in self._leaderless
        )

    def _read(self, who: Server, listed: tuple[Listed, ...]) -> tuple[Server, ...]:
        """Return the servers of a list that can be servers at all, sorted by id.

        Raises:
            ConsulError: the list is not empty, but none of its servers can be one.
        """
        servers, rejected = [], []
        for each in listed:
            try:
                # The list says no ports: what holds one is no address.
                at = Server.at(each.address, self._grpc_port)
            except ValueError:
                name = one_line(f"server {each.id} left out: {each.address!r}", 200)
                rejected.append(f"{name} is no IP address")
                continue
            servers.append(
                Server(each.id, at.port, at.ipv4, at.ipv6, version=each.version)
            )
        here = who.address.is_loopback
        kept, faults = sane(servers, self._vip_network, loopback=here)
        self._left_out.report([*rejected, *faults])
        if listed and not kept:
            raise _DoubtfulError(f"{who.endpoint}: lists no address a server can have")
        return kept


class _DoubtfulError(ConsulError):
    """A server answers, but others are likely to know better."""


class _Failures:
    """The failures since the last good list: logged once, each followed by a pause."""

    def __init__(self) -> None:
        self._reasons = Reasons(logger, "source_failed")
        self._count = 0
        self.pause = 0.0
        self.doubtful = False
        """Whether the newest failure means that other servers know better."""

    def note(self, *reasons: str) -> None:
        for why in reasons:
            self._count += 1
            if self._count == 1:
                line = f"WatchServers: {why}; asking another server"
                self._reasons.report((line,))
            else:
                logger.debug("WatchServers: %s", why)
        longest = growing(self._count, LEAST, MOST, factor=1.5)
        self.pause = random.uniform(LEAST, longest)  # noqa: S311

    def without_token(self, error: ConsulEbpfError) -> None:
        if isinstance(error, TokenPendingError):
            self.pause = PENDING
        else:
            self.note(str(error))

    def over(self) -> None:
        self._count = 0
        self._reasons.report(())


async def _prompt(
    stream: AsyncGenerator[tuple[Listed, ...], None],
) -> AsyncGenerator[tuple[Listed, ...], None]:
    """Yield the lists; the first has to come within `FIRST` seconds."""
    async with aclosing(stream):
        try:
            async with asyncio.timeout(FIRST):
                first = await anext(stream)
        except TimeoutError:
            raise ConsulError(f"no list of servers within {FIRST:g} s") from None
        yield first
        async for each in stream:
            yield each


async def _first(wanted: asyncio.Future[Any], other: asyncio.Future[Any]) -> bool:
    """Wait for one of two. False: `other` was first, and `wanted` is cancelled."""
    try:
        await asyncio.wait({wanted, other}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = wanted.done()
        if not done:
            wanted.cancel()
            await asyncio.wait([wanted])
    return done
