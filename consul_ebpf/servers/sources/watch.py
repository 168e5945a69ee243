"""A source that calls WatchServers, as consul-dataplane does: it needs only gRPC."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from ipaddress import IPv4Network

from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.timing import done
from consul_ebpf.client.channels import ChannelFactory, target_of
from consul_ebpf.client.rpc import CallError
from consul_ebpf.client.token import TokenSource, no_token
from consul_ebpf.client.watch_servers import Listed, watch_servers
from consul_ebpf.model.errors import ConsulEbpfError, ConsulError
from consul_ebpf.model.values import Server
from consul_ebpf.model.vips import VIP_NETWORK
from consul_ebpf.servers.sanity import sane
from consul_ebpf.servers.sources.leadership import LEADERLESS_SECONDS, Leadership
from consul_ebpf.servers.sources.names import Resolver
from consul_ebpf.servers.sources.watch_failures import DoubtfulError, Failures

logger = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
"""That a server has for its first list."""

ADVICE = {
    "UNIMPLEMENTED": (
        'Consul is too old for it (set consul.source = "catalog"), or this is no Consul'
    ),
    "UNAUTHENTICATED": "it needs an ACL token (consul.credentials)",
    "PERMISSION_DENIED": "the ACL token is not accepted (consul.credentials)",
}
"""What to say about a failure with one of gRPC's codes."""


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
        self._leadership = Leadership(channels, leaderless)
        self._left_out = Reasons(logger, "list_refused")
        self._bad_seeds = Reasons(logger, "list_refused")

    def __repr__(self) -> str:
        return f"<WatchSource {self._resolver!r}>"

    async def watch(self) -> AsyncGenerator[tuple[Server, ...], None]:
        """Yield the whole list at once and again after each change, for ever."""
        failed = Failures()
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
                failed.note_missing_token(error)
            if server is not None:
                del untried[0]
                async with aclosing(self._lists_of(server, token, failed)) as lists:
                    async for servers in lists:
                        # Ask this server again first, for it has answered.
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

    async def _seeds(self, failed: Failures) -> tuple[Server, ...]:
        """Resolve the seeds, and keep those that the token may be sent to."""
        found, _, wrong = await self._resolver.resolve()
        failed.note(*wrong)
        seeds, rejected = sane(found, self._vip_network)
        self._bad_seeds.report(rejected)
        if not seeds:
            failed.note("no seed leads to an address that a server can have")
        return seeds

    async def _lists_of(
        self, server: Server, token: str | None, failed: Failures
    ) -> AsyncGenerator[tuple[Server, ...], None]:
        """Yield one server's lists until something is wrong with it."""
        try:
            lists = _prompt(watch_servers(self._channels, server, token))
            async for listed in self._leadership.while_led(server, lists):
                servers = self._read(server, listed)
                if servers:  # a first list may be empty: the server does not know yet
                    failed.end()
                    done("discovery")
                    yield servers
        except ConsulError as error:
            failed.doubtful = isinstance(error, DoubtfulError)
            if failed.doubtful and self._leadership.is_lost(server):
                failed.pause_shortly()
                return  # this was logged already
            code = error.code if isinstance(error, CallError) else ""
            advice = f": {ADVICE[code]}" if code in ADVICE else ""
            why = self._explain(target_of(server))
            failed.note(why or f"{error}{advice}")

    def _read(self, who: Server, listed: tuple[Listed, ...]) -> tuple[Server, ...]:
        """Return the servers of a list whose addresses a server can have, sorted by id.

        Raises:
            ConsulError: the list is not empty, but none of its servers can be one.
        """
        servers, rejected = [], []
        for each in listed:
            try:
                # The list names no ports; a text with one is not an address.
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
            raise DoubtfulError(f"{who.endpoint}: lists no address a server can have")
        return kept


async def _prompt(
    stream: AsyncGenerator[tuple[Listed, ...], None],
) -> AsyncGenerator[tuple[Listed, ...], None]:
    """Yield the lists; the first must come within `FIRST_SECONDS`."""
    async with aclosing(stream):
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                first = await anext(stream)
        except TimeoutError:
            raise ConsulError(
                f"no list of servers within {FIRST_SECONDS:g} s"
            ) from None
        yield first
        async for each in stream:
            yield each
