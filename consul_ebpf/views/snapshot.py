"""A host at one moment: what the kernel holds, and what its controller knows.

It is taken once, by `gatherer.py`, for all who ask. `status`, `wait`, /v1/status,
/v1/proxies and /metrics only format it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consul_ebpf.base.timing import Duration, Work
from consul_ebpf.controller.problems import Problems
from consul_ebpf.model.values import (
    DNS_NAME,
    GRPC,
    KernelState,
    PluginState,
    PodVolume,
    Vip,
    VipCounters,
)
from consul_ebpf.views.known_proxies import KnownProxies
from consul_ebpf.views.timeline import Timeline


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """What the kernel holds for one service: the tables, and the program on them."""

    tables: KernelState
    hooks: Mapping[str, int] = field(default_factory=dict)
    """The attached programs' ids, by hook."""
    cgroup: str = ""
    """Path of the cgroup it is attached at; empty: it is at none, or that is gone."""
    attached: bool = False
    """Whether it is attached at every hook, to a cgroup that exists."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the controller keeps on disk for those who look."""

    names: Mapping[Vip, tuple[str, Vip]] = field(default_factory=dict)
    """Each VIP's proxy, and the VIP as its bootstrap holds it: the kernel knows
    neither."""
    admins: Mapping[str, str] = field(default_factory=dict)
    """`address:port` of Envoys' admin interfaces, by proxy name."""
    problems: Problems = field(default_factory=Problems)
    """What the newest round met."""
    volumes: tuple[PodVolume, ...] | None = None
    """The volumes of this node's pods; None: it is no node of Kubernetes."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """Consul's ids of proxies that have another key, by that key."""
    timeline: Timeline | None = None
    """What happened last; None: no controller wrote it down."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What only the running controller can tell; it ends with it."""

    proxies: KnownProxies = field(default_factory=lambda: KnownProxies({}))
    """What the newest round came to."""
    version: str = ""
    """The package's."""
    durations: Mapping[Work, Duration] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    """Calls to servers that failed, by gRPC's status."""
    moved: Mapping[str, int] = field(default_factory=dict)
    """How often a proxy went to another server, by proxy name."""
    moved_from: Mapping[str, int] = field(default_factory=dict)
    """How often one left a server, by `address:port`."""
    tokens: Mapping[str, float] = field(default_factory=dict)
    """Unix times at which the logins' tokens were made, by proxy key."""
    logins_failing: int = 0
    """Logins that failed last, and are tried again."""
    logins_queued: int = 0
    """Logins that wait for their turn."""
    plugin: PluginState | None = None
    """What kubelet made of the node plugin; None: there is none."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole host."""

    at: float
    """Unix time."""
    services: Mapping[str, ServiceAccount]
    """By the service's name; `grpc` is always there."""
    established: frozenset[int]
    """Cookies of established connections: all of those that the tables note."""
    remembered: Remembered = field(default_factory=Remembered)
    pid: int | None = None
    """The controller's; None: none runs."""
    events: Mapping[str, int] = field(default_factory=dict)
    """What the newest controller met since its start, by the events' names."""
    inside: Inside = field(default_factory=Inside)
    """Empty if this was taken outside of the controller."""
    monotonic: float = 0.0
    """`time.monotonic()` at the same moment as `at`."""

    @property
    def grpc(self) -> ServiceAccount:
        """The servers that proxies get their configuration from, and the proxies."""
        return self.services[GRPC.name]

    @property
    def dns(self) -> ServiceAccount | None:
        """The servers that DNS queries are led to, and the VIP; None: there is none."""
        return self.services.get(DNS_NAME)

    @property
    def timeline(self) -> Timeline:
        """What happened last; empty: no controller wrote it down."""
        return self.remembered.timeline or Timeline()

    def is_connected(self, row: VipCounters) -> bool:
        """Whether one of a VIP's newest connections is established."""
        return any(cookie in self.established for cookie, _ in row.sockets)
