"""The values that flow: discover -> plan -> program -> render.

Frozen and without I/O, so that every decision is a function over them and every
arrow between two parts carries a whole value, never a delta.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

MAX_SERVERS = 64
"""Most servers a pool keeps: what the kernel's server table is planned for."""

MAX_CHOICES = 8
"""Longest preference: `CHOICES` in bpf/tables.h."""


def host_port(address: IPv4Address | IPv6Address | str, port: int | str) -> str:
    """Join as `10.0.0.1:8502` or `[fd00::1]:8502`."""
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


class ServerState(enum.Enum):
    """What a pool thinks of a server."""

    READY = "ready"
    """Probes succeed: new connects may go there."""
    FAILING = "failing"
    """Enough probes in a row failed: new connects go elsewhere."""
    DRAINING = "draining"
    """No longer listed by the source: new connects go elsewhere, old ones stay."""


@dataclass(frozen=True, slots=True)
class Server:
    """A Consul server's gRPC endpoint, as a source reports it.

    At least one of the two addresses is set. `port` is the gRPC port (1..65535),
    each server's own. `id` tells two servers apart and survives an address change:
    Consul's node ID, or `address:port` where the source knows nothing better.
    """

    id: str
    port: int
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    version: str = ""
    name: str = ""

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The address to show and to probe: IPv4 where there is one."""
        address = self.ipv4 or self.ipv6
        if address is None:
            msg = f"server {self.id} has no address"
            raise ValueError(msg)
        return address

    @property
    def endpoint(self) -> str:
        """`address:port`."""
        return host_port(self.address, self.port)

    @classmethod
    def at(cls, address: str, port: int, *, name: str = "") -> "Server":
        """Make a server from an IP literal; its id is `address:port`."""
        ip = ip_address(address)
        return cls(
            id=host_port(ip, port),
            port=port,
            ipv4=ip if isinstance(ip, IPv4Address) else None,
            ipv6=ip if isinstance(ip, IPv6Address) else None,
            name=name,
        )


Endpoint = tuple[IPv4Address | None, IPv6Address | None, int]
"""Both addresses and the port: what the kernel knows of a row of the server table."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a server is connected to for; a row of the server table is of one service.

    `port` is the same at every server; 0: each server's own gRPC port. The kernel knows
    no names of services, so two services of one server have two ports.
    """

    name: str
    port: int = 0

    def endpoint_of(self, server: Server) -> Endpoint:
        """Return where this service is at a server."""
        return server.ipv4, server.ipv6, self.port or server.port

    def shown_at(self, server: Server) -> str:
        """Return `address:port` of this service at a server."""
        return host_port(server.address, self.port or server.port)


GRPC = Service("grpc")

DNS_NAME = "dns"
"""The name of the service at the servers' DNS port, which is configured."""


@dataclass(frozen=True, slots=True)
class PooledServer:
    """A server, and what the pool thinks of a service of it."""

    server: Server
    state: ServerState
    dead: bool = False
    """Proven dead: its probes failed often enough in a row while another server's
    succeeded. Only then may its old connections be cut."""
    service: Service = GRPC

    @property
    def endpoint(self) -> Endpoint:
        """What its row says."""
        return self.service.endpoint_of(self.server)


@dataclass(frozen=True, slots=True, order=True)
class Vip:
    """The address and port in a proxy's bootstrap.

    An IPv4 VIP reaches servers over IPv4, its IPv4-mapped IPv6 form
    (`::ffff:127.64.0.1`) reaches them over IPv6. Both are the same VIP to the kernel,
    so a proxy may use either; `ipv6` says which one its bootstrap holds.
    """

    address: IPv4Address
    port: int
    ipv6: bool = field(default=False, compare=False)

    def __hash__(self) -> int:
        """As equal ones have it; VIPs are keys of everything, so it is a quick one."""
        return hash((int(self.address), self.port))

    @property
    def packed(self) -> bytes:
        """Address and port in network byte order."""
        return self.address.packed + self.port.to_bytes(2)

    @property
    def literal(self) -> str:
        """The address as the bootstrap holds it."""
        return f"::ffff:{self.address}" if self.ipv6 else str(self.address)

    def __str__(self) -> str:
        """`127.64.0.1:8502` or `[::ffff:127.64.0.1]:8502`."""
        return host_port(self.literal, self.port)


@dataclass(frozen=True, slots=True)
class Login:
    """A login at an auth method: what consul-dataplane's `-login-*` flags say.

    `bearer_token_file` is read at each login, so that it may change. `namespace`,
    `partition` and `datacenter` are the auth method's; `meta` is put on the token.
    """

    auth_method: str
    bearer_token: str = field(default="", repr=False)
    bearer_token_file: str = ""
    namespace: str = ""
    partition: str = ""
    datacenter: str = ""
    meta: tuple[tuple[str, str], ...] = ()
    token_ttl: float = 0.0
    """Seconds the token lives, where Consul's HTTP API cannot be asked; 0: unknown."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to get an ACL token: one of these is set."""

    token: str = field(default="", repr=False)
    token_file: str = ""
    login: Login | None = None


@dataclass(frozen=True, slots=True)
class BootstrapParams:
    """What Consul says of a proxy's bootstrap: `GetEnvoyBootstrapParams`' answer.

    `identity` is the service a sidecar is a proxy of, or a gateway's own service.
    `config` is the central configuration (proxy-defaults, service-defaults) as JSON
    data, `access_logs` are JSON texts of Envoy's AccessLog.
    """

    identity: str = ""
    namespace: str = ""
    partition: str = ""
    datacenter: str = ""
    node_name: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    access_logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProxyFiles:
    """Where a proxy's files go, and whose they are.

    `directory` is an absolute path on this host, of this proxy alone and outside the
    bootstraps' directory. It is made if missing; what it is in must be there, and be
    writable for nobody who is not trusted with what the controller writes. `seen_at`
    is the path at which its Envoy sees that directory, such as in its container;
    empty: the same. `owner` is (uid, gid); None: `bootstrap.owner`.
    """

    directory: str
    seen_at: str = ""
    owner: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """One Envoy to serve: a proxy service registered in Consul.

    `id` is Consul's ID of the proxy service; empty: not known yet, and then no
    bootstrap can be made. `key` is this host's own name for it, which does not change
    when the id comes: VIP, files and token are kept by it. By default it is the id.
    `vip` is the address asked for (None: allocate one), IPv4 or IPv4-mapped IPv6.
    `service` is the service it is a proxy of, where known. `owner` says for people
    who asked for this proxy: "configuration", a drop-in file's path, a catalog node.
    `netns` and `cgroup` are paths of the proxy's network namespace (such as
    /run/netns/web-1 or /proc/4711/ns/net) and cgroup v2 directory, where known: its
    VIP then leads nowhere from elsewhere. `credentials` are its own; None: those of
    the whole host.
    """

    id: str
    node: str
    namespace: str = "default"
    partition: str = "default"
    service: str = ""
    vip: IPv4Address | IPv6Address | None = None
    admin: tuple[str, int] | None = None
    owner: str = ""
    netns: str = ""
    cgroup: str = ""
    credentials: Credentials | None = None
    ready: tuple[str, int] | None = None
    """Address and port of a listener that only serves Envoy's /ready."""
    conflict: str = ""
    """Why no bootstrap may be made of it now: what it asks for is another's. What it
    has meanwhile stays."""
    key: str = ""
    """At most 200 bytes, and fit for a directory's name, as the id."""
    files: ProxyFiles | None = None
    """None: in the bootstraps' directory, in one named like the key."""

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self.id)

    @property
    def name(self) -> str:
        """What people call it: its id, or its key while it has none."""
        return self.id or self.key

    @property
    def has_own(self) -> bool:
        """Whether it has a place or credentials that only its own entry knows."""
        return bool(self.netns or self.cgroup or self.credentials)


@dataclass(frozen=True, slots=True)
class HostProxies:
    """The proxies of this host, as far as their sources can tell.

    While something is lacking, there may be others, and proxies that were named before
    are still among these: nothing of theirs may be removed or given away.
    """

    proxies: tuple[Proxy, ...] = ()
    lacking: tuple[str, ...] = ()
    """What the sources cannot tell now, a line each."""


@dataclass(frozen=True, slots=True)
class PlacedProxy:
    """A proxy and the VIP that is its own."""

    proxy: Proxy
    vip: Vip


@dataclass(frozen=True, slots=True)
class Binding:
    """Whose connects a VIP is for; from elsewhere they are refused."""

    netns: int = 0
    """Cookie of the network namespace (SO_NETNS_COOKIE); 0: any."""
    cgroup: int = 0
    """Id (inode) of the cgroup v2 directory, or of one above the caller's; 0: any."""
    level: int = 0
    """How deep that directory is: 1 for a child of the root."""

    def __bool__(self) -> bool:
        """Whether it binds at all."""
        return bool(self.netns or self.cgroup)


@dataclass(frozen=True, slots=True)
class SlottedServer:
    """A service of a pooled server, in its slot of the kernel's server table.

    Read from the kernel, `server.port` is the row's and `service` is `GRPC`, whichever
    service it is.
    """

    slot: int
    server: Server
    state: ServerState
    service: Service = GRPC

    @property
    def endpoint(self) -> Endpoint:
        """What its row says."""
        return self.service.endpoint_of(self.server)


Preference = tuple[int, ...]
"""A VIP's slots, first choice first, at most `MAX_CHOICES`, no slot twice."""


@dataclass(frozen=True, slots=True)
class Table:
    """What the kernel is to hold: the plan's answer and `MapBackend.apply`'s input."""

    servers: Mapping[int, SlottedServer] = field(default_factory=dict)
    vips: Mapping[Vip, Preference] = field(default_factory=dict)
    bindings: Mapping[Vip, Binding] = field(default_factory=dict)
    """Only of VIPs that are bound."""


@dataclass(frozen=True, slots=True)
class ServerCounters:
    """What the kernel counted for one server since its slot was filled."""

    connects: int = 0
    """Connects sent to it."""
    failures: int = 0
    """Of these, those followed by a retry within the retry window: it was refused,
    did not answer, or ended the stream at once."""


@dataclass(frozen=True, slots=True)
class VipCounters:
    """What the kernel knows of one VIP's connects."""

    connects: int = 0
    current: int | None = None
    """Slot of the newest connect."""
    sockets: tuple[tuple[int, int], ...] = ()
    """Newest connects as (socket cookie, slot), to be found again with sock_diag."""
    failures: int = 0
    """Connects followed by a retry within the retry window."""


@dataclass(frozen=True, slots=True)
class KernelState:
    """What the kernel holds and has counted: `MapBackend.read`'s answer."""

    table: Table
    servers: Mapping[int, ServerCounters]
    vips: Mapping[Vip, VipCounters]
    capacity: int = 0
    """How many VIPs fit."""
