"""Values of the proxies: their VIPs, credentials, and what Consul says of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar

from consul_ebpf.model.values.servers import host_port
from consul_ebpf.model.values.telemetry import ProxyTelemetry


class Vip(int):
    """The address and port in a proxy's bootstrap.

    By an IPv4 VIP a proxy reaches servers over IPv4, by its IPv4-mapped IPv6 form
    (`::ffff:127.64.0.1`) over IPv6. To the kernel both are the same VIP, and two VIPs
    that differ only in `ipv6` are equal; `ipv6` says which form the bootstrap holds.

    VIPs are the keys of most mappings, and there may be 65,536. As a number, port and
    address take a third of the memory, and are hashed and compared without a call.
    """

    __slots__ = ()
    ipv6: ClassVar[bool] = False

    def __new__(  # noqa: PYI034  # the form decides which class
        cls, address: IPv4Address | int, port: int, ipv6: bool = False
    ) -> "Vip":
        """Make one; ValueError: there is no such address or port."""
        number = int(address)
        if not 0 <= number < 1 << 32:
            raise ValueError(f"{address} is no IPv4 address")
        if not 0 <= port < 1 << 16:
            raise ValueError(f"port {port} is not between 0 and 65535")
        # The address has the low bits: hash tables begin with those.
        return int.__new__(_MappedVip if ipv6 else Vip, port << 32 | number)

    def __getnewargs__(self) -> tuple[IPv4Address, int, bool]:  # type: ignore[override]
        """Return what a copy is made from."""
        return self.address, self.port, self.ipv6

    @property
    def number(self) -> int:
        """The address as a number."""
        return self & 0xFFFF_FFFF

    @property
    def address(self) -> IPv4Address:
        """The address, in whichever form the bootstrap has it."""
        return IPv4Address(self.number)

    @property
    def port(self) -> int:
        """The port."""
        return self >> 32

    @property
    def packed(self) -> bytes:
        """Address and port in network byte order."""
        return self.number.to_bytes(4) + self.port.to_bytes(2)

    @property
    def literal(self) -> str:
        """The address as the bootstrap has it."""
        return f"::ffff:{self.address}" if self.ipv6 else str(self.address)

    def __str__(self) -> str:
        """`127.64.0.1:8502` or `[::ffff:127.64.0.1]:8502`."""
        return host_port(self.literal, self.port)

    def __repr__(self) -> str:
        return f"<Vip {self}>"


class _MappedVip(Vip):
    """One whose proxy reaches servers over IPv6."""

    __slots__ = ()
    ipv6 = True


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in at an auth method, as consul-dataplane's `-login-*` flags say.

    `bearer_token_file` is read at each login. `namespace`, `partition` and `datacenter`
    are the auth method's; `meta` is put on the token.
    """

    auth_method: str
    bearer_token: str = field(default="", repr=False)
    bearer_token_file: str = ""
    namespace: str = ""
    partition: str = ""
    datacenter: str = ""
    meta: tuple[tuple[str, str], ...] = ()
    token_ttl: float = 0.0
    """Seconds that the token lives, if Consul cannot be asked for it; 0: unknown."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to get an ACL token: exactly one of the three is set."""

    token: str = field(default="", repr=False)
    token_file: str = ""
    login: Login | None = None


@dataclass(frozen=True, slots=True)
class BootstrapParams:
    """What Consul says of a proxy's bootstrap: the answer of `GetEnvoyBootstrapParams`.

    `identity` is the service that a sidecar is a proxy of, or a gateway's own service.
    `config` is the central configuration (proxy-defaults, service-defaults) as decoded
    JSON. Each of `access_logs` is the JSON of one of Envoy's AccessLog messages.
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
    """Where a proxy's files go, and who owns them.

    `directory` is an absolute path on this host, of this proxy alone and outside the
    bootstraps' directory. It is made if it is missing. Its parent must exist, and only
    users who may see what the controller writes may be able to write to it. `seen_at`
    is the path at which the proxy's Envoy sees the directory, such as in its container;
    empty: the same path. `owner` is (uid, gid); None: `bootstrap.owner`.
    """

    directory: str
    seen_at: str = ""
    owner: tuple[int, int] | None = None
    mode: int = 0o600
    """The files' mode: 0600, or more readers if nobody knows who the Envoy runs as and
    only those in its container can come to the directory."""
    exists_already: bool = False
    """Whether somebody else makes and removes the directory, such as a mount. Then it
    is never made or removed here; while it is not there, its files wait."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One Envoy to serve: a proxy service registered in Consul.

    `id` is Consul's ID of the proxy service; empty: not known yet, and then no
    bootstrap can be made. `key` is this host's own name of the proxy; VIP, files and
    token are kept by it. It does not change when the id becomes known, and is the id by
    default. `vip` is the wanted address, IPv4 or IPv4-mapped IPv6; None: allocate one.
    `service` is the service that it is a proxy of; empty: not known. `owner` is where
    the proxy was configured, for messages: "configuration", a drop-in file's path, or a
    catalog node. `netns` and `cgroup` are paths of the proxy's network namespace (such
    as /run/netns/web-1 or /proc/4711/ns/net) and of its cgroup v2 directory; from
    elsewhere, connects to its VIP are refused. Empty: from everywhere they are
    accepted. `credentials` are its own; None: it uses those of the host.
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
    """Address and port of a listener that only serves Envoy's /ready; None: no such."""
    conflict: str = ""
    """Why no bootstrap may be made now: it wants what another proxy has. Until then it
    keeps what it has. Empty: there is no conflict."""
    key: str = ""
    """At most 200 bytes, and usable as a directory's name. The id, if it is another,
    may have 512 bytes."""
    files: ProxyFiles | None = None
    """None: its files are in the bootstraps' directory, in a directory named `key`."""
    awaits: str = ""
    """Why Consul's id is not known yet, for people; empty: nobody says."""
    ended: bool = False
    """Whether Consul had its registration and has it no more, because its pod ends. It
    keeps what it has, and gets nothing new: no login, no bootstrap."""
    telemetry: ProxyTelemetry | None = None
    """How its Envoy tells of itself; None: as all others of this host."""
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The variables of its container: what `$NAME` in central configuration stands for.
    Empty: the controller's own, unless its Envoy sees its files elsewhere."""

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self.id)

    @property
    def name(self) -> str:
        """The name for messages: the id, or the key while there is no id."""
        return self.id or self.key

    @property
    def is_pods(self) -> bool:
        """Whether its volume and cgroup are a pod's. They go before it does."""
        return self.files is not None and self.files.exists_already

    @property
    def has_own(self) -> bool:
        """Whether it has a namespace, cgroup or credentials of its own."""
        return bool(self.netns or self.cgroup or self.credentials)


@dataclass(frozen=True, slots=True)
class HostProxies:
    """The proxies of this host, as far as their sources know them now.

    While `lacking` is not empty there may be others. Proxies that were named before are
    still among these: nothing of theirs may be removed or given to another.
    """

    proxies: tuple[Proxy, ...] = ()
    lacking: tuple[str, ...] = ()
    """One line for each thing that a source does not know now."""


@dataclass(frozen=True, slots=True)
class PlacedProxy:
    """A proxy, and its VIP."""

    proxy: Proxy
    vip: Vip
