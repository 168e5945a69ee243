"""Values of the kernel's tables: what they are to hold, hold, and have counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consul_ebpf.model.values.proxies import Vip
from consul_ebpf.model.values.servers import (
    GRPC,
    Endpoint,
    Server,
    ServerState,
    Service,
)

MAX_CHOICES = 8
"""Most slots of a preference: `CHOICES` in bpf/tables.h."""


@dataclass(frozen=True, slots=True)
class Binding:
    """From where connects to a VIP are accepted; from elsewhere they are refused."""

    netns: int = 0
    """Cookie of a network namespace (SO_NETNS_COOKIE); 0: any."""
    cgroup: int = 0
    """Id (inode) of a cgroup v2 directory: the connecting process is in it or below;
    0: any."""
    level: int = 0
    """Depth of that directory: 1 for a child of the root."""

    def __bool__(self) -> bool:
        """Whether it refuses anything."""
        return bool(self.netns or self.cgroup)


@dataclass(frozen=True, slots=True)
class SlottedServer:
    """A service of a server, in its slot of the kernel's table of servers.

    If it was read from the kernel, `server.port` is the port of the row and `service`
    is `GRPC`, whichever service the row is of.
    """

    slot: int
    server: Server
    state: ServerState
    service: Service = GRPC

    @property
    def endpoint(self) -> Endpoint:
        """What its row in the kernel's table says."""
        return self.service.endpoint_of(self.server)


Preference = tuple[int, ...]
"""Slots in the order in which a VIP's connects use them; at most `MAX_CHOICES`, each
once."""


@dataclass(frozen=True, slots=True)
class Table:
    """What the kernel is to hold: `plan` returns it, `MapBackend.apply` writes it."""

    servers: Mapping[int, SlottedServer] = field(default_factory=dict)
    vips: Mapping[Vip, Preference] = field(default_factory=dict)
    bindings: Mapping[Vip, Binding] = field(default_factory=dict)
    """Only VIPs that are bound have one."""


@dataclass(frozen=True, slots=True)
class ServerCounters:
    """What the kernel has counted for one server since its slot was filled."""

    connects: int = 0
    """Connects that were sent to it."""
    failures: int = 0
    """Connects of these that were followed by another one within the retry window: the
    server refused, did not answer, or ended the stream at once."""


@dataclass(frozen=True, slots=True)
class VipCounters:
    """What the kernel has counted for one VIP."""

    connects: int = 0
    current: int | None = None
    """Slot of the newest connect; None: there was none."""
    sockets: tuple[tuple[int, int], ...] = ()
    """The newest connects, the oldest first, as (socket cookie, slot). sock_diag finds
    them by cookie."""
    failures: int = 0
    """Connects that were followed by another one within the retry window."""
    newest: float = 0.0
    """When the newest connect was, as `time.monotonic()`, to a second; 0: that is not
    known."""


@dataclass(frozen=True, slots=True)
class KernelState:
    """What the kernel holds and has counted: `MapBackend.read` returns it."""

    table: Table
    servers: Mapping[int, ServerCounters]
    vips: Mapping[Vip, VipCounters]
    capacity: int = 0
    """How many VIPs the table can hold."""
