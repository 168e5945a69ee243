"""Calls to whichever Consul server answers."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from consul_ebpf.base.timing import count
from consul_ebpf.client.channels import Channel, ChannelFactory, target_of
from consul_ebpf.client.rpc import TOKEN_REFUSALS, CallError, ask, message
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Server

T = TypeVar("T")

__all__ = ["CallError", "ServerCalls"]

CALL_SECONDS = 5.0
"""Seconds that each server has to answer."""

ELSEWHERE = {
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "INTERNAL",  # said by a server that has no leader at the moment
    "UNKNOWN",
}
"""Answers after which another server may do better."""

IDLE_SECONDS = 60.0
"""Seconds after which a channel that was not used is closed."""

STAY_SECONDS = 600.0
"""How long the server that answered last is asked first. A server that is back after
others stood in for it gets its share of a fleet's calls again."""

FEATURES = "/hashicorp.consul.dataplane.DataplaneService/GetSupportedDataplaneFeatures"


def random_rank() -> Callable[[Server], float]:
    """Return a rank of servers that is stable, and unlike any other's."""
    seed = random.random()  # noqa: S311
    return lambda server: random.Random(f"{seed} {server.endpoint}").random()  # noqa: S311


class ServerCalls:
    """Makes unary calls, each to the first server that answers.

    Args:
        servers: returns the servers to ask. Of these, the one that answered last is
            asked first.
        channels: makes a channel to a target.
        explain: returns why there is no connection to a target, if it is known.
        rank: which of the others comes first, by the least. By default an order of its
            own: a fleet's hosts should not all ask the same server.
    """

    def __init__(
        self,
        servers: Callable[[], Sequence[Server]],
        channels: ChannelFactory,
        explain: Callable[[str], str] = lambda _: "",
        rank: Callable[[Server], float] | None = None,
    ) -> None:
        self._servers = servers
        self._rank = rank or random_rank()
        self._make_channel = channels
        self._explain = explain
        self._channels: dict[str, tuple[Channel, float]] = {}
        self._last = ""
        self._last_until = 0.0

    def __repr__(self) -> str:
        return f"<ServerCalls {len(self._channels)} channels>"

    @property
    def servers(self) -> tuple[Server, ...]:
        """Those that can be asked now, in the order to ask."""
        return tuple(sorted(self._servers(), key=self._rank))

    async def call(
        self,
        method: str,
        request: Any,
        answer: Any,
        *,
        token: str = "",
        secret: str = "",
        seconds: float = CALL_SECONDS,
    ) -> Any:
        """Call `/hashicorp.consul.<method>`; return a message of class `answer`.

        No error repeats the token, nor `secret`, which is one in the request. A server
        has `seconds` to answer, as long as it is one of those to ask.

        Raises:
            CallError: a server refused, and every other one would.
            ConsulError: no server answered.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._last_until:
            self._last, self._last_until = "", now + STAY_SECONDS
        why = "none is known to be up"
        for server in sorted(self.servers, key=lambda s: s.endpoint != self._last):
            try:
                asking = self._ask(
                    server,
                    f"/hashicorp.consul.{method}",
                    message(answer),
                    request=request.SerializeToString(),
                    token=token,
                    secret=secret,
                    seconds=seconds,
                )
                if seconds > CALL_SECONDS:
                    asking = self._while_up(server, asking)
                found = await asking
            except CallError as error:
                why = self._explain(target_of(server)) or str(error)
                if error.code not in ELSEWHERE:
                    raise CallError(why, error.code, error.details) from None
            else:
                self._last = server.endpoint
                return found
        raise ConsulError(f"no Consul server answers ({why})")

    async def accepts(self, server: Server, token: str) -> bool:
        """Whether this server accepts the token.

        Raises:
            ConsulError: it did not answer.
        """
        try:
            await self._ask(server, FEATURES, len, token=token)
        except CallError as error:
            if error.code in TOKEN_REFUSALS:
                return False
            why = self._explain(target_of(server)) or str(error)
            raise ConsulError(why) from None
        return True

    async def aclose(self) -> None:
        """Close all channels."""
        channels, self._channels = list(self._channels.values()), {}
        for channel, _ in channels:
            await channel.close()

    async def _while_up(self, server: Server, asking: Coroutine[Any, Any, T]) -> T:
        """Await a long answer, and give up once the server is not up any more.

        Raises:
            CallError: it is not.
        """
        call = asyncio.ensure_future(asking)
        try:
            while not (await asyncio.wait([call], timeout=CALL_SECONDS))[0]:
                if server not in self._servers():
                    line = f"{server.endpoint}: it is no longer up"
                    raise CallError(line, "UNAVAILABLE")
            return call.result()
        finally:
            call.cancel()

    async def _ask(
        self,
        server: Server,
        method: str,
        read: Callable[[bytes], Any],
        *,
        request: bytes = b"",
        token: str = "",
        secret: str = "",
        seconds: float = CALL_SECONDS,
    ) -> Any:
        try:
            return await ask(
                await self._channel(target_of(server)),
                method,
                request,
                read,
                who=server.endpoint,
                seconds=seconds,
                token=token,
                secret=secret,
            )
        except CallError as error:
            count("connection_errors", error.code)
            raise

    async def _channel(self, target: str) -> Channel:
        now = asyncio.get_running_loop().time()
        channel, _ = self._channels.get(target) or (self._make_channel(target), now)
        self._channels[target] = (channel, now)
        idle = [
            t for t, (_, used) in self._channels.items() if used < now - IDLE_SECONDS
        ]
        for old, _ in [self._channels.pop(target) for target in idle]:
            await old.close()
        return channel
