"""Ask a server's gRPC port whether anybody is at home.

Only an answer in gRPC counts: a server that hangs still accepts TCP connections.
"""

import asyncio
from collections.abc import Callable

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from consul_ebpf.base.timing import observe
from consul_ebpf.client.channels import ChannelFactory, insecure_channel, target_of
from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import Server

FEATURES = "/hashicorp.consul.dataplane.DataplaneService/GetSupportedDataplaneFeatures"
"""Consul serves no grpc.health.v1; this call costs it nothing."""

ALIVE = {
    grpc.StatusCode.OK,
    # Each of these was decided by a server that works. A token is not sent: it would
    # only turn UNAUTHENTICATED into OK, and probing needs no secret.
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

MISSES_PER_CHANNEL = 5
"""Deadlines missed in a row before a new connection is tried. The old one is right
for a server that was stopped and goes on; TCP's own back-off makes it useless for one
whose host went away and came back."""

IDLE = 30.0
"""Seconds after which the channel of a server that is no longer probed is closed."""


class _Link:
    """One server's channel and what was learned over it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.health = HealthStub(channel).Check
        self.features = channel.unary_unary(FEATURES)  # bytes in, bytes out
        self.has_health = True
        self.misses = 0
        self.used = 0.0


class GrpcProbe:
    """A `HealthProbe`: grpc.health.v1, or the dataplane service where that is missing.

    Keeps one channel for each server. Usable again after `aclose`.
    """

    def __init__(
        self,
        *,
        timeout: float = 1.0,
        channel_factory: ChannelFactory = insecure_channel,
        explain: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Give each server `timeout` seconds to answer.

        `explain` is asked for a target that does not answer: what the channels know
        and gRPC does not, like a certificate that was not accepted.
        """
        self._timeout = timeout
        self._channel_factory = channel_factory
        self._explain = explain
        self._links: dict[str, _Link] = {}

    def __repr__(self) -> str:
        return f"<GrpcProbe {len(self._links)} channels, {self._timeout:g} s>"

    async def check(self, server: Server) -> Health:
        """Probe once, within the timeout; a server that is dead raises nothing."""
        now = asyncio.get_running_loop().time()
        await self._close_idle(now)
        target = target_of(server)
        link = self._links.get(target)
        if link is None:
            link = self._links[target] = _Link(self._channel_factory(target))
        link.used = now
        health, code = await self._ask(link, now + self._timeout)
        missed = code is grpc.StatusCode.DEADLINE_EXCEEDED
        link.misses = link.misses + 1 if missed else 0
        if not health.alive:
            link.has_health = True  # it may come back as a newer one
            if why := self._explain(target):
                health = Health(alive=False, reason=why)
        else:
            observe("probe", asyncio.get_running_loop().time() - now)
        if link.misses >= MISSES_PER_CHANNEL and self._links.get(target) is link:
            del self._links[target]
            await link.channel.close()
        return health

    async def _ask(
        self, link: _Link, deadline: float
    ) -> tuple[Health, grpc.StatusCode]:
        try:
            if link.has_health:
                answer = await link.health(
                    HealthCheckRequest(), timeout=self._timeout, wait_for_ready=False
                )
                return _read(answer), grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                return _judge(error), error.code()
            link.has_health = False
        left = deadline - asyncio.get_running_loop().time()
        try:
            await link.features(b"", timeout=max(left, 0.001))
        except grpc.aio.AioRpcError as error:
            return _judge(error), error.code()
        return Health(alive=True, reason="OK"), grpc.StatusCode.OK

    async def _close_idle(self, now: float) -> None:
        idle = [t for t, link in self._links.items() if link.used < now - IDLE]
        for link in [self._links.pop(target) for target in idle]:
            await link.channel.close()

    async def aclose(self) -> None:
        """Close all channels."""
        links, self._links = list(self._links.values()), {}
        for link in links:
            await link.channel.close()


def _read(answer: HealthCheckResponse) -> Health:
    status = HealthCheckResponse.ServingStatus.Name(answer.status)
    return Health(alive=status == "SERVING", reason=status)


def _judge(error: grpc.aio.AioRpcError) -> Health:
    code = error.code()
    details = " ".join((error.details() or "").split())[:200]
    reason = f"{code.name}: {details}" if details else code.name
    return Health(alive=code in ALIVE, reason=reason)
