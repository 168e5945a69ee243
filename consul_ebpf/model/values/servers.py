"""Values of the Consul servers: what a source lists, and what the pool makes of it."""

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

MAX_SERVERS = 64
"""Most servers that a pool keeps; the kernel's table of servers has room for them."""


def host_port(address: IPv4Address | IPv6Address | str, port: int | str) -> str:
    """Return `10.0.0.1:8502`, or `[fd00::1]:8502` for an IPv6 address."""
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


class ServerState(enum.Enum):
    """Whether new connects may go to a server."""

    READY = "ready"
    """Probes succeed: new connects may go there."""
    FAILING = "failing"
    """Enough probes in a row failed: new connects go elsewhere."""
    DRAINING = "draining"
    """No longer listed by the source: new connects go elsewhere, old ones stay."""


@dataclass(frozen=True, slots=True)
class Server:
    """A Consul server, as a source lists it.

    At least one of the two addresses is set. `port` is this server's gRPC port
    (1..65535). `id` differs for each server and survives a change of its address: it is
    Consul's node ID, or `address:port` if the source does not know that.
    """

    id: str
    port: int
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    version: str = ""
    name: str = ""

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The address to show and to probe: the IPv4 one if there is one."""
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
"""IPv4 address, IPv6 address and port, as in a row of the kernel's table of servers."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that every Consul server offers: gRPC or DNS.

    `port` is the same at every server; 0: each server's own gRPC port. A row of the
    kernel's table of servers is of one service, without its name.
    """

    name: str
    port: int = 0

    def endpoint_of(self, server: Server) -> Endpoint:
        """Return the addresses and the port of this service at a server."""
        return server.ipv4, server.ipv6, self.port or server.port

    def shown_at(self, server: Server) -> str:
        """Return `address:port` of this service at a server."""
        return host_port(server.address, self.port or server.port)


GRPC = Service("grpc")

DNS_NAME = "dns"
"""The name of the service at the servers' DNS port."""


@dataclass(frozen=True, slots=True)
class PooledServer:
    """A server, and the state of one service at it."""

    server: Server
    state: ServerState
    dead: bool = False
    """Whether its newest probes failed, often enough in a row, while another server's
    succeeded. Only then may connections to it be cut."""
    silent: bool = False
    """Whether its newest probes failed, often enough in a row, and no server's
    succeeded. It keeps its state then, for the fault may be this host's."""
    service: Service = GRPC

    @property
    def endpoint(self) -> Endpoint:
        """What its row in the kernel's table says."""
        return self.service.endpoint_of(self.server)
