"""The TOML contract as values: every key, its default, bounds, unit and reason.

`load.py` fills these from the file, the environment and flags, and checks them.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(ge=0.01, le=3600)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, and strict about keys it does not know."""


class Tls(Section, frozen=True):
    """`[consul.tls]`: TLS to the servers' gRPC port, ours and Envoy's."""

    disabled: bool = False
    """Plaintext gRPC to the servers, by the controller and every Envoy."""
    ca_certs: str = ""
    """PEM file, or a directory of such files, whose certificates are trusted, roots or
    not; read again whenever it changes; empty: the system's. Also for `https://`
    addresses."""
    cert: str = ""
    """Client certificate, where the servers ask for one; read again whenever it
    changes; an Envoy at `--log-level debug` writes its private key to its log."""
    key: str = ""
    """Its key; empty: in the same file."""
    server_name: str = ""
    """SNI, and the name or IP address to find in the servers' certificates; empty:
    `server.<consul.datacenter>.<consul.domain>`."""
    http_server_name: str = ""
    """The name to find in the certificate of an `https://` address; empty: the
    address's host, and for an IP address `consul.tls.server_name` will do, too."""
    insecure_skip_verify: bool = False
    """Verify nothing; said at each start."""


class Credentials(Section, frozen=True):
    """`[consul.credentials]`: the controller's ACL token, and its proxies'."""

    type: Literal["", "static", "login"] = ""
    """`""` (none), `static` or `login`."""
    token: str = ""
    """The ACL token; better a file."""
    token_file: str = ""
    """A file with it, read again whenever it changes."""
    auth_method: str = ""
    """For `login`: the auth method's name."""
    bearer_token: str = ""
    """For `login`: what is shown to the auth method (a JWT); better a file."""
    bearer_token_file: str = ""
    """A file with it, read at each login."""
    namespace: str = ""
    """The auth method's."""
    partition: str = ""
    """The auth method's."""
    datacenter: str = ""
    """The auth method's."""
    meta: dict[str, str] = {}
    """Put on the tokens that logins make."""
    token_ttl: float = 0.0
    """Seconds a login's token lives (the auth method's MaxTokenTTL), where the HTTP API
    cannot be asked; 0: unknown, replaced when it is refused."""

    def __repr__(self) -> str:
        """Hide the secrets: a configuration ends up in logs and tracebacks."""
        return f"Credentials(type={self.type!r}, token_file={self.token_file!r}, ...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Hide them from rich too, which does not ask `__repr__`."""
        return [("type", self.type), ("token_file", self.token_file)]


NO_CREDENTIALS = Credentials()


class Consul(Section, frozen=True):
    """`[consul]`: where the servers are and how to ask."""

    http_addresses: list[str] = []
    """Consul's HTTP API, agents or servers, tried in turn: `http[s]://host[:port]` with
    or without a path (ports 80 and 443 where none is given), `host[:port]` (8500), or
    `unix:///socket`. The default is for `source = "catalog"` alone: any other source
    asks nothing over HTTP unless an address is given."""
    source: Literal["catalog", "watch", "static", "dns", "exec"] = "catalog"
    """Where the servers come from: `catalog` (HTTP), `watch` (WatchServers, gRPC alone,
    as consul-dataplane), `static`, `dns` or `exec`."""
    addresses: list[str] = []
    """For `static`: the servers' gRPC ports, `ip` or `ip:port`; for the others but
    `catalog` also names and `exec=command`: see [Servers](servers.md)."""
    grpc_port: Port = 8502
    """Where the source gives no port."""
    datacenter: str = ""
    """Empty: that of the agent that answers."""
    domain: str = "consul"
    """The cluster's DNS domain, for the name in the servers' certificates, and for the
    name that the probe of their DNS asks for."""
    refresh: Seconds = 60.0
    """Seconds after which `exec` is run again, and a name that came without a TTL (from
    /etc/hosts) is looked up again."""
    tls: Tls = Tls()
    credentials: Credentials = Credentials()

    @property
    def certificate_name(self) -> str:
        """The name that every server's certificate has."""
        made = f"server.{self.datacenter}.{self.domain.strip('.')}"
        return self.tls.server_name or made

    @property
    def certificate_name_keys(self) -> str:
        """The keys that `certificate_name` is made from, for messages."""
        if self.tls.server_name:
            return f"consul.tls.server_name ({self.tls.server_name})"
        return (
            f"consul.datacenter ({self.datacenter}) and consul.domain ({self.domain})"
        )


class Kernel(Section, frozen=True):
    """`[kernel]`: where the program is attached and which addresses are VIPs."""

    cgroup: str = "auto"
    """A cgroup v2 directory: processes in it and below are redirected. `auto`: the root
    of all."""
    bpffs: str = "/sys/fs/bpf"
    """A BPF file system; our directory in it is `consul-ebpf`."""
    vip_cidr: str = "127.64.0.0/10"
    """The VIPs' range, within 127.0.0.0/8."""
    vip_port: Port = 8502
    """The VIPs' port; without TLS rather one below 1024: see
    [`detach`](../README.md#when-something-ends)."""
    retry_window: Seconds = 35.0
    """Seconds; a connect this soon after the proxy's last one is counted as a failure
    of the server it leaves."""
    # Longer than Envoy may need to give up on a server that accepts and never answers:
    # keepalive (20 + 5 s), connect timeout (1 s), back-off (2 s).
    max_proxies: Annotated[int, Meta(ge=1, le=1 << 20)] = 65536
    """How many proxies the VIP table holds."""

    destroy_sockets: bool = True
    """Cut the proxies' connections to a server proven dead, within 6 s of its death;
    without it Envoy's keepalive does, within 30 s."""


class Bootstrap(Section, frozen=True):
    """`[bootstrap]`: where the files for Envoy go."""

    directory: str = "/run/consul-ebpf"
    """Where bootstraps and tokens are written."""
    owner: str = ""
    """`user` or `user:group` that owns them; another user needs `CAP_CHOWN`; empty: the
    controller's own."""
    patience: Seconds = 5.0
    """Seconds that a first bootstrap waits for what Consul says of the proxy (central
    configuration); then it is written without, and again once that is known."""
    refresh: Seconds = 60.0
    """Seconds from one question to Consul about a proxy's bootstrap (central
    configuration) to the next."""


class State(Section, frozen=True):
    """`[state]`: what is to be remembered over a reboot."""

    directory: str = ""
    """Where the last known servers are kept (`servers.json`); name one that survives a
    reboot; empty: `$STATE_DIRECTORY`, which systemd sets, else
    `bootstrap.directory`."""


class ProxyEntry(Section, frozen=True):
    """One `[[proxies]]`."""

    id: str
    """The proxy's service ID."""
    node: str = ""
    """The catalog node it is registered on."""
    namespace: str = "default"
    """Consul Enterprise."""
    partition: str = "default"
    """Consul Enterprise."""
    service: str = ""
    """The service it is a proxy of; empty: its own id names Envoy's cluster."""
    vip: str = ""
    """An address in `kernel.vip_cidr`, or IPv4-mapped IPv6 (`::ffff:127.64.0.1`) to
    reach IPv6 servers; empty: allocated, and kept over restarts."""
    admin: str = ""
    """Envoy's admin address and port; empty: `envoy.admin`, and where several proxies
    share a network namespace a port of its own from there on, kept over restarts and
    shown by `status`."""
    ready: str = ""
    """`address:port` of a listener that serves Envoy's /ready and nothing else; empty:
    `envoy.ready`."""
    netns: str = ""
    """Path of its network namespace (`/run/netns/web-1`, `/proc/4711/ns/net`); the VIP
    then leads nowhere from any other; empty: any."""
    cgroup: str = ""
    """Path of its cgroup v2 directory, to the same end, for pods on the host's
    network."""
    credentials: Credentials = Credentials()
    """A proxy's own, with the keys of `consul.credentials`; what a login leaves out is
    taken from there."""


class Workloads(Section, frozen=True):
    """`[workloads]`: proxies that are not in the file itself."""

    directory: str = ""
    """A directory of `*.toml` files with `[[proxies]]`, watched."""
    catalog_nodes: list[str] = []
    """Catalog nodes whose connect proxies are this host's, watched."""
    admins: dict[str, str] = {}
    """`proxies[].admin` by proxy id, for proxies whose own entry has none: `{
    web-1-sidecar-proxy = "127.0.0.1:19005" }`."""


class Envoy(Section, frozen=True):
    """`[envoy]`: defaults for every proxy's Envoy, as consul-dataplane's."""

    admin: str = "127.0.0.1:19000"
    """Admin address and port of proxies that name none."""
    ready: str = ""
    """Such a listener for proxies that name none; empty: none."""
    executable: str = "envoy"
    """What `consul-ebpf envoy` becomes."""
    concurrency: int = 2
    """Envoy's worker threads: what `consul-ebpf envoy` starts it with, as the next
    two."""
    drain_time: int = 30
    """Seconds."""
    drain_strategy: Literal["immediate", "gradual"] = "immediate"
    """`immediate` or `gradual`."""
    wait: Seconds = 60.0
    """Seconds that `consul-ebpf envoy` and `wait` wait."""
    shutdown_drain_listeners: bool = False
    """`stop` has Envoy drain its inbound listeners during the grace period."""
    shutdown_grace_period: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """Seconds that `stop` leaves Envoy running, so that the service can finish."""
    dump_config_on_exit: bool = False
    """`stop` prints Envoy's configuration first."""


class Prometheus(Section, frozen=True):
    """`[telemetry.prometheus]`: of the listener for scrapers.

    Central configuration asks for it with `envoy_prometheus_bind_addr`.
    """

    scrape_path: str = "/metrics"
    """Path on the listener that `envoy_prometheus_bind_addr` asks for."""
    backend_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Port on 127.0.0.1 scraped through it; 0: Envoy's own admin."""
    ca_certs: str = ""
    """PEM file to verify scrapers by that show a certificate; with the next two or not
    at all."""
    cert: str = ""
    """That listener's certificate. Envoy reads it when it starts."""
    key: str = ""
    """Its key."""


class Telemetry(Section, frozen=True):
    """`[telemetry]`: Envoy's own metrics."""

    use_central_config: bool = True
    """Carry out the `envoy_*` keys of proxy-defaults and service-defaults."""
    prometheus: Prometheus = Prometheus()


class Api(Section, frozen=True):
    """`[api]`: the controller's local HTTP endpoint."""

    enabled: bool = True
    """The local HTTP endpoint."""
    socket: str = ""
    """Its unix socket, at most 107 bytes; only a socket that nobody listens at is
    replaced; empty: `api.sock` in `bootstrap.directory`."""
    listen: str = ""
    """`address:port` for reads and metrics, too, an IP address and no name; empty:
    nowhere."""
    users: list[str] = []
    """Who may register proxies besides root and the controller's own user: names or
    uids."""


class Probe(Section, frozen=True):
    """`[probe]`: the health probe of the servers' gRPC port. Seconds."""

    interval: Seconds = 1.0
    """Seconds from one probe of a server to the next."""
    timeout: Seconds = 1.0
    """Seconds until a server that does not answer has failed."""
    rise: Annotated[int, Meta(ge=1, le=1000)] = 2
    """Successes in a row that make a failing server ready."""
    fall: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Failures in a row that make a ready server failing; for its DNS, 2 are enough."""


class Dns(Section, frozen=True):
    """`[dns]`: one VIP of this host for DNS, answered by the Consul servers.

    The servers' DNS ports are probed as often as their gRPC ports are: `[probe]`.
    """

    enabled: bool = False
    """Lead queries to the VIP to a server whose DNS answers."""
    vip: str = "127.64.0.53"
    """An IPv4 address in `kernel.vip_cidr` that is no proxy's; resolvers that speak
    IPv6 may use it as `::ffff:127.64.0.53`."""
    port: Port = 53
    """The VIP's port, for UDP and TCP; not `kernel.vip_port`."""
    server_port: Port = 8600
    """The servers' DNS port (`ports.dns`), the same at every server."""
    cgroups: list[str] = []
    """Cgroup v2 directories, at most 16: only processes in these and below may ask;
    one that is missing is said, and may come later. Empty: any process of the host may,
    as with any resolver."""


class Log(Section, frozen=True):
    """`[log]`: what goes to standard error."""

    format: Literal["text", "json"] = "text"
    """`text` or `json`; each record is one line of printable characters, its time with
    the offset from UTC."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug`, `info`, `warning` or `error`."""


class Config(Section, frozen=True):
    """The whole file."""

    consul: Consul = Consul()
    kernel: Kernel = Kernel()
    bootstrap: Bootstrap = Bootstrap()
    state: State = State()
    proxies: list[ProxyEntry] = []
    workloads: Workloads = Workloads()
    envoy: Envoy = Envoy()
    telemetry: Telemetry = Telemetry()
    api: Api = Api()
    probe: Probe = Probe()
    dns: Dns = Dns()
    log: Log = Log()
