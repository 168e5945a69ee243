"""Asks a server's gRPC port whether the server works.

Only an answer in gRPC counts: a server that hangs still accepts TCP connections. Consul
has no grpc.health.v1; it is asked whether it knows the leader, a cheap call
(docs/performance.md).
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.timing import observe
from consul_ebpf.client.channels import (
    Channel,
    ChannelFactory,
    insecure_channel,
    target_of,
)
from consul_ebpf.client.leader import ask_for_leader, knows_leader
from consul_ebpf.client.messages import HealthRequest, HealthResponse
from consul_ebpf.client.rpc import CallError, ask, message
from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import Server

CHECK = "/grpc.health.v1.Health/Check"

FEATURES = "/hashicorp.consul.dataplane.DataplaneService/GetSupportedDataplaneFeatures"
"""Asked where a server has neither grpc.health.v1 nor an answer to who leads."""

ALIVE = {
    # Only a server that works can decide one of these. No token is sent: it would only
    # turn UNAUTHENTICATED into OK, and a probe needs no secret.
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "UNIMPLEMENTED",
    "RESOURCE_EXHAUSTED",
}

MISSES_PER_CHANNEL = 5
"""After so many deadlines missed in a row a new connection is made. The old one works
again if the server was only stopped; if its host went away and came back, TCP's own
back-off would delay the old one for long."""

REFUSED = "UNAVAILABLE"
"""There is no connection. A new one is made then, too: the old channel would wait for a
while before it connects, and answer a probe meanwhile by what was before. A server that
is back by then would lose the connections that have just moved to it."""

IDLE_SECONDS = 30.0
"""Seconds after which the channel of a server that is no longer probed is closed."""


LEADER_SECONDS = 5.0
"""How often a server is asked whether it knows the leader, if another call probes."""

SILENT = {REFUSED, "DEADLINE_EXCEEDED", "CANCELLED"}
"""What gRPC says where a server did not answer at all."""


class _Link:
    """The channel to a server, and what was learned over it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.has_health = True
        self.misses = 0
        self.used = 0.0
        self.leader: bool | None = None
        self.next_leader_look = 0.0


class GrpcProbe:
    """A `HealthProbe`: grpc.health.v1, or Consul's own calls where that is missing.

    It keeps one channel to each server, and can be used again after `aclose`.
    """

    def __init__(
        self,
        *,
        timeout: float = 1.0,
        channel_factory: ChannelFactory = insecure_channel,
        explain: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Make a probe.

        Args:
            timeout: seconds that a server has to answer.
            channel_factory: makes a channel to a target.
            explain: returns why a target does not answer if the channels know more
                than gRPC does, such as a certificate that was not accepted; or "".
        """
        self._timeout = timeout
        self._channel_factory = channel_factory
        self._explain = explain
        self._links: dict[str, _Link] = {}

    def __repr__(self) -> str:
        return f"<GrpcProbe {len(self._links)} channels, {self._timeout:g} s>"

    async def check(self, server: Server) -> Health:
        """Probe once, within the timeout. Nothing is raised.

        Whatever goes wrong, the server was not seen to work.
        """
        try:
            return await self._check(server)
        except Exception as error:  # noqa: BLE001
            return Health(alive=False, reason=f"the probe failed: {reason(error)}")

    async def _check(self, server: Server) -> Health:
        now = asyncio.get_running_loop().time()
        await self._close_idle(now)
        target = target_of(server)
        link = self._links.get(target)
        if link is None:
            link = self._links[target] = _Link(self._channel_factory(target))
        link.used = now
        health, code = await self._ask(link, server.endpoint, now)
        link.misses = link.misses + 1 if code == "DEADLINE_EXCEEDED" else 0
        if not health.alive:
            link.has_health = True  # it may come back as a newer version
            link.next_leader_look = 0.0
            if why := self._explain(target):
                health = Health(alive=False, reason=why)
        else:
            observe("probe", asyncio.get_running_loop().time() - now)
            if link.has_health and now >= link.next_leader_look:
                link.next_leader_look = now + LEADER_SECONDS
                who = server.endpoint
                link.leader = await knows_leader(link.channel, who, self._timeout)
            health = replace(health, leader=link.leader)
        renew = code == REFUSED or link.misses >= MISSES_PER_CHANNEL
        if renew and self._links.get(target) is link:
            del self._links[target]
            await link.channel.close()
        return health

    async def _ask(self, link: _Link, who: str, now: float) -> tuple[Health, str]:
        """Return the verdict, and the name of gRPC's status."""
        try:
            if link.has_health:
                request = HealthRequest().SerializeToString()
                read = message(HealthResponse)
                answer = await ask(
                    link.channel, CHECK, request, read, who=who, seconds=self._timeout
                )
                return _read(answer.status), "OK"
        except CallError as error:
            if error.code != "UNIMPLEMENTED":
                return _judge(error), error.code
            link.has_health = False
        try:
            if now >= link.next_leader_look:
                left = self._left(now)
                link.leader = await ask_for_leader(link.channel, who, left)
                return Health(alive=True, reason="OK"), "OK"
        except CallError as error:
            if error.code in SILENT:
                return _judge(error), error.code
            link.leader = None
            link.next_leader_look = now + LEADER_SECONDS
        try:
            await ask(
                link.channel, FEATURES, b"", len, who=who, seconds=self._left(now)
            )
        except CallError as error:
            return _judge(error), error.code
        return Health(alive=True, reason="OK"), "OK"

    def _left(self, begun: float) -> float:
        """Return the seconds left of a probe's timeout, never none."""
        now = asyncio.get_running_loop().time()
        return max(begun + self._timeout - now, 0.001)

    async def _close_idle(self, now: float) -> None:
        idle = [t for t, link in self._links.items() if link.used < now - IDLE_SECONDS]
        for link in [self._links.pop(target) for target in idle]:
            await link.channel.close()

    async def aclose(self) -> None:
        """Close all channels."""
        links, self._links = list(self._links.values()), {}
        for link in links:
            await link.channel.close()


def _read(status: int) -> Health:
    """Judge as gRPC's own clients do: only SERVING counts."""
    names = HealthResponse.ServingStatus
    if status not in names.values():
        return Health(alive=False, reason=f"health status {status}, which is none")
    name = names.Name(status)
    return Health(alive=name == "SERVING", reason=name)


def _judge(error: CallError) -> Health:
    said = f"{error.code}: {error.details}" if error.details else error.code
    return Health(alive=error.code in ALIVE, reason=said)
