"""The servers by WatchServers, as consul-dataplane learns of them: gRPC alone."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.retry import growing
from consul_ebpf.base.timing import done
from consul_ebpf.client.channels import ChannelFactory, target_of
from consul_ebpf.client.rpc import CallError
from consul_ebpf.client.token import TokenSource, no_token
from consul_ebpf.client.watch_servers import Listed, watch_servers
from consul_ebpf.model.errors import ConfigError, ConsulError, TokenPendingError
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources.names import Resolver
from consul_ebpf.servers.sources.static import parse_server

logger = logging.getLogger(__name__)

FIRST = 5.0
"""Seconds that a server has for its first list: it sends it at once."""

LEAST, MOST = 0.5, 60.0
"""Seconds of the pause after a failure; it grows by half each time."""

PENDING = 0.2
"""Seconds between looks whether there is an ACL token now."""

ADVICE = {
    "UNIMPLEMENTED": "Consul is too old for it, or this is something else",
    "UNAUTHENTICATED": "it needs an ACL token (consul.credentials)",
    "PERMISSION_DENIED": "the ACL token is not accepted (consul.credentials)",
}
"""What to do, by gRPC's code. Servers behind a load balancer have `static` or `dns`."""


class WatchSource:
    """A `ServerSource`: asks one server at a time who the servers are.

    While none has said so yet, the seeds themselves are the list: a login may need a
    server first. When all that are known were tried in vain, the seeds are resolved
    again.

    Args:
        resolver: of the seeds.
        channels: makes channels to servers.
        grpc_port: of every server; the lists do not say.
        token: any that is valid; asked for at each try.
        explain: says why there is no connection to a target, where it is known.
    """

    def __init__(
        self,
        resolver: Resolver,
        channels: ChannelFactory,
        *,
        grpc_port: int = 8502,
        token: TokenSource = no_token,
        explain: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._resolver = resolver
        self._channels = channels
        self._grpc_port = grpc_port
        self._token = token
        self._explain = explain

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
                seeds, _, wrong = await self._resolver.resolve()
                failed.note(*wrong)
                untried = [*known, *seeds]
            server = untried[0] if untried else None
            try:
                token = await asyncio.to_thread(self._token)
            except TokenPendingError:
                server, failed.pause = None, PENDING
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
            if seeds and not last:
                last = seeds
                yield seeds
            await asyncio.sleep(failed.pause)

    async def _lists_of(
        self, server: Server, token: str | None, failed: "_Failures"
    ) -> AsyncGenerator[tuple[Server, ...], None]:
        """Yield one server's lists until something is wrong with it."""
        try:
            async for listed in _prompt(watch_servers(self._channels, server, token)):
                servers = self._read(listed)
                if servers:  # the first list may be empty: it does not know yet
                    failed.over()
                    done("discovery")
                    yield servers
        except ConsulError as error:
            code = error.code if isinstance(error, CallError) else ""
            advice = f": {ADVICE[code]}" if code in ADVICE else ""
            why = self._explain(target_of(server))
            failed.note(why or f"{error}{advice}")

    def _read(self, listed: tuple[Listed, ...]) -> tuple[Server, ...]:
        servers = []
        for each in listed:
            try:
                at = parse_server(each.address, self._grpc_port)
            except ConfigError as error:
                logger.debug("a server of the list skipped: %s", error)
                continue
            servers.append(
                Server(each.id, at.port, at.ipv4, at.ipv6, version=each.version)
            )
        return tuple(sorted(servers, key=lambda each: each.id))


class _Failures:
    """Those since the last good list: said once, and paused after."""

    def __init__(self) -> None:
        self._reasons = Reasons(logger, "source_failed")
        self._count = 0
        self.pause = 0.0

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

    def over(self) -> None:
        self._count = 0
        self._reasons.report(())


async def _prompt(
    stream: AsyncIterator[tuple[Listed, ...]],
) -> AsyncIterator[tuple[Listed, ...]]:
    """Demand the first list soon; then wait as long as it takes."""
    try:
        async with asyncio.timeout(FIRST):
            first = await anext(stream)
    except TimeoutError:
        raise ConsulError(f"no list of servers within {FIRST:g} s") from None
    yield first
    async for each in stream:
        yield each
