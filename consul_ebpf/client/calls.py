"""Calls to whichever Consul server answers."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from consul_ebpf.base.timing import count
from consul_ebpf.client.channels import ChannelFactory, target_of
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Server

TIMEOUT = 5.0
"""Seconds that each server has to answer."""

ELSEWHERE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,  # no leader at the moment, as one that is cut off says
    grpc.StatusCode.UNKNOWN,
}
"""Answers after which another server may do better."""

IDLE = 60.0
"""Seconds after which a channel that was not used is closed."""

FEATURES = "/hashicorp.consul.dataplane.DataplaneService/GetSupportedDataplaneFeatures"


class CallError(ConsulError):
    """A server refused a call. `code`: gRPC's name of the status."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ServerCalls:
    """Makes unary calls, each to the first server that answers.

    Args:
        servers: returns those to ask, best first; the one that answered last is
            asked first while it is among them.
        channels: makes a channel to a target.
        explain: says why there is no connection to a target, where it is known.
    """

    def __init__(
        self,
        servers: Callable[[], Sequence[Server]],
        channels: ChannelFactory,
        explain: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._servers = servers
        self._make_channel = channels
        self._explain = explain
        self._channels: dict[str, tuple[grpc.aio.Channel, float]] = {}
        self._last = ""

    def __repr__(self) -> str:
        return f"<ServerCalls {len(self._channels)} channels>"

    @property
    def servers(self) -> tuple[Server, ...]:
        """Those that can be asked now."""
        return tuple(self._servers())

    async def call(
        self,
        method: str,
        request: Any,
        answer: Any,
        *,
        token: str = "",
        secret: str = "",
    ) -> Any:
        """Ask for `/hashicorp.consul.<method>`; return a message of class `answer`.

        `secret` is one in the request: no error repeats it, nor the token.

        Raises:
            CallError: a server refused; another one would, too.
            ConsulError: no server answered.
        """
        servers = sorted(self._servers(), key=lambda each: each.endpoint != self._last)
        why = "none is known to be up"
        for server in servers:
            try:
                data = await self._ask(
                    server, f"/hashicorp.consul.{method}", request, token
                )
            except grpc.aio.AioRpcError as error:
                why = self._why(server, error, token, secret)
                if error.code() not in ELSEWHERE:
                    raise CallError(why, error.code().name) from None
            else:
                self._last = server.endpoint
                return answer.FromString(data)
        raise ConsulError(f"no Consul server answers ({why})")

    async def accepts(self, server: Server, token: str) -> bool:
        """Whether this very server knows the token.

        Raises:
            ConsulError: it did not answer.
        """
        try:
            await self._ask(server, FEATURES, None, token)
        except grpc.aio.AioRpcError as error:
            if error.code() in {
                grpc.StatusCode.UNAUTHENTICATED,
                grpc.StatusCode.PERMISSION_DENIED,
            }:
                return False
            raise ConsulError(self._why(server, error, token)) from None
        return True

    async def aclose(self) -> None:
        """Close all channels."""
        channels, self._channels = list(self._channels.values()), {}
        for channel, _ in channels:
            await channel.close()

    async def _ask(self, server: Server, path: str, request: Any, token: str) -> bytes:
        channel = await self._channel(target_of(server))
        answer: bytes = await channel.unary_unary(path)(
            request.SerializeToString() if request is not None else b"",
            timeout=TIMEOUT,
            metadata=(("x-consul-token", token),) if token else (),
        )
        return answer

    async def _channel(self, target: str) -> grpc.aio.Channel:
        now = asyncio.get_running_loop().time()
        channel, _ = self._channels.get(target) or (self._make_channel(target), now)
        self._channels[target] = (channel, now)
        idle = [t for t, (_, used) in self._channels.items() if used < now - IDLE]
        for old, _ in [self._channels.pop(target) for target in idle]:
            await old.close()
        return channel

    def _why(self, server: Server, error: grpc.aio.AioRpcError, *secrets: str) -> str:
        """Put the refusal in a line, without secrets should the server repeat them."""
        count("connection_errors", error.code().name)
        details = " ".join((error.details() or "").split())
        for secret in filter(None, secrets):
            details = details.replace(secret, "<token>")
        details = details[:200]
        known = self._explain(target_of(server))
        return known or f"{server.endpoint}: {error.code().name} {details}".strip()
