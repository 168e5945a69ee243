"""What a fleet asks of each Consul server, computed from what one host was seen to ask.

Everything is linear: a host asks the same however many others there are, and hosts ask
different servers. `nox -s bench -- fleet` checks that with as many real controllers as
fit on a machine. What an xDS stream carries is the same whoever holds it, and left out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

SELDOM, BUSY = 50.0, 1000.0
"""Calls a second to one server, at which their costs are measured."""


@dataclass(frozen=True)
class Fleet:
    """How many hosts with how many pods each, on how many servers."""

    hosts: int
    pods: int
    servers: int


@dataclass(frozen=True)
class Share:
    """How much of something there is, or how often it happens a second.

    Attributes:
        server: for each host at each server.
        host: for each host, at any one server.
        pod: for each pod, at any one server.
    """

    server: float = 0.0
    host: float = 0.0
    pod: float = 0.0

    def at_each_server(self, fleet: Fleet) -> float:
        """Return what one server has of it."""
        return fleet.hosts * (self.server + self._anywhere(fleet) / fleet.servers)

    def moved_to_each(self, fleet: Fleet) -> float:
        """Return what each other server gets of it when one dies."""
        at_the_dead = fleet.hosts * self._anywhere(fleet) / fleet.servers
        return at_the_dead / (fleet.servers - 1)

    def _anywhere(self, fleet: Fleet) -> float:
        return self.host + self.pod * fleet.pods


@dataclass(frozen=True)
class Cost:
    """What one call costs a server: CPU in microseconds, and bytes both ways."""

    cpu_us: float
    size: float


@dataclass(frozen=True)
class Costs:
    """What a call of one kind costs a server that gets few calls, and one that is busy.

    With few, the server has to be woken for each call, and that is most of it.
    """

    seldom: Cost
    busy: Cost

    def at(self, calls_a_second: float) -> Cost:
        """Return one call's at a rate, of all kinds: between the two by its logarithm.

        Beyond them it is taken to be as at the nearer one.
        """
        rate = min(BUSY, max(SELDOM, calls_a_second))
        part = math.log(rate / SELDOM) / math.log(BUSY / SELDOM)
        return Cost(
            self.seldom.cpu_us + part * (self.busy.cpu_us - self.seldom.cpu_us),
            self.seldom.size + part * (self.busy.size - self.seldom.size),
        )


@dataclass(frozen=True)
class Design:
    """What one way of connecting Envoys to servers asks for.

    Attributes:
        calls: by kind, a second.
        costs: by the same kinds, of one call.
        opened: by kind, what is kept open.
        connections: TCP connections, to gRPC and HTTP.
        idle_size: bytes a second of each connection that only stays open.
        first: calls by kind when all hosts start.
    """

    calls: Mapping[str, Share]
    costs: Mapping[str, Costs]
    opened: Mapping[str, Share]
    connections: Share
    idle_size: float
    first: Mapping[str, Share] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """What one server bears.

    Attributes:
        calls: by kind, a second.
        opened: by kind.
        connections: to it.
        size: bytes a second, both ways.
        cores: CPU for the calls.
    """

    calls: Mapping[str, float]
    opened: Mapping[str, float]
    connections: float
    size: float
    cores: float

    @property
    def calls_together(self) -> float:
        """Calls a second of all kinds."""
        return sum(self.calls.values())


def load_of(design: Design, fleet: Fleet) -> Load:
    """Return what each server bears when nothing happens."""
    calls = {kind: each.at_each_server(fleet) for kind, each in design.calls.items()}
    opened = {kind: each.at_each_server(fleet) for kind, each in design.opened.items()}
    connections = design.connections.at_each_server(fleet)
    together = sum(calls.values())
    costs = [(rate, design.costs[kind].at(together)) for kind, rate in calls.items()]
    return Load(
        calls,
        opened,
        connections,
        size=connections * design.idle_size + sum(n * c.size for n, c in costs),
        cores=sum(n * cost.cpu_us for n, cost in costs) / 1e6,
    )
