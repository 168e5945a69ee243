"""The TOML contract as values: every key, its default, its unit and its reason.

`load.py` fills these from the file, the environment and flags, and checks them.
"""

from typing import Any, Literal

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, and strict about keys it does not know."""


class Tls(Section, frozen=True):
    """`[consul.tls]`: TLS to the servers' gRPC port, ours and Envoy's."""

    disabled: bool = False
    """Plaintext gRPC. Off by default, so that plaintext is somebody's decision."""
    ca_certs: str = ""
    """PEM file or directory; empty: the system's."""
    cert: str = ""
    """Client certificate, PEM file, where the servers ask for one."""
    key: str = ""
    server_name: str = ""
    """SNI of gRPC and the name to find in the servers' certificates; empty:
    `server.<consul.datacenter>.<consul.domain>`."""
    http_server_name: str = ""
    """The same for HTTPS; empty: the host in `consul.http_addresses`."""
    insecure_skip_verify: bool = False
    """Take any certificate. Whoever can answer in a server's place gets the tokens."""


class Credentials(Section, frozen=True):
    """`[consul.credentials]`: the controller's ACL token, and its proxies'."""

    type: Literal["", "static", "login"] = ""
    token: str = ""
    token_file: str = ""
    """Read again whenever it changes."""
    auth_method: str = ""
    bearer_token: str = ""
    bearer_token_file: str = ""
    namespace: str = ""
    """Of the auth method, as are `partition` and `datacenter`."""
    partition: str = ""
    datacenter: str = ""
    meta: dict[str, str] = {}
    """Put on the token that a login makes."""
    token_ttl: float = 0.0
    """Seconds such a token lives (the auth method's MaxTokenTTL), where the HTTP API
    cannot be asked. 0: unknown; it is then replaced when it is refused."""

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
    """HTTP(S) API addresses, agents or servers, tried in turn: `http[s]://host[:port]`
    with or without a path, `host[:port]` or `unix:///socket`. Default for the source
    `catalog` alone: http://127.0.0.1:8500. Without one nothing is asked over HTTP."""
    source: Literal["catalog", "watch", "static", "dns", "exec"] = "catalog"
    addresses: list[str] = []
    """`ip` or `ip:port` of each server's gRPC port: all of them for `static`, and
    for other sources where to begin (there also a DNS name or `exec=command`)."""
    grpc_port: int = 8502
    """Where the source gives no port."""
    datacenter: str = ""
    """Empty: the datacenter of the agent that answers."""
    domain: str = "consul"
    """The cluster's DNS domain, for the name in the servers' certificates."""
    refresh: float = 60.0
    """Seconds after which `exec` is run again, and a name that came without a TTL
    (from /etc/hosts) is looked up again."""
    tls: Tls = Tls()
    credentials: Credentials = Credentials()


class Kernel(Section, frozen=True):
    """`[kernel]`: where the program is attached and which addresses are VIPs."""

    cgroup: str = "auto"
    """Path of a cgroup v2 directory; `auto`: the true root."""
    bpffs: str = "/sys/fs/bpf"
    """Mounted BPF file system; our pins live in one directory below it."""
    vip_cidr: str = "127.64.0.0/10"
    """Cannot leave the host, whatever happens. IPv4."""
    vip_port: int = 8502
    retry_window: float = 35.0
    """Seconds. A connect from a VIP this soon after its last one counts as a failure of
    the server it leaves. Longer than what Envoy may need to give up on one that accepts
    and never answers: keepalive (20 + 5 s), connect timeout (1 s), back-off (2 s)."""
    max_proxies: int = 65536
    """Capacity of the VIP table. Its memory is taken when the tables are made."""

    destroy_sockets: bool = True
    """Cut the connections of proxies to a server whose probes say it is dead, so that
    they need not find out by themselves. Needs CAP_NET_ADMIN, and CAP_SYS_ADMIN and
    CAP_SYS_PTRACE for other network namespaces."""


class Bootstrap(Section, frozen=True):
    """`[bootstrap]`: where the files for Envoy go."""

    directory: str = "/run/consul-ebpf"
    owner: str = ""
    """`user` or `user:group` that owns the files; empty: the controller's own."""
    patience: float = 5.0
    """Seconds that a first bootstrap waits for what Consul says of the proxy (central
    configuration); then it is written without, and again once that is known."""
    refresh: float = 60.0
    """Seconds from one question to Consul about a proxy's bootstrap to the next: so
    long may a change of central configuration go unnoticed."""


class State(Section, frozen=True):
    """`[state]`: what is to be remembered over a reboot."""

    directory: str = ""
    """Empty: $STATE_DIRECTORY, which systemd sets, else `bootstrap.directory`."""


class ProxyEntry(Section, frozen=True):
    """One `[[proxies]]`."""

    id: str
    node: str = ""
    namespace: str = "default"
    partition: str = "default"
    service: str = ""
    """The service it is a proxy of: Envoy's cluster name."""
    vip: str = ""
    """IPv4 in `vip_cidr`, or IPv4-mapped IPv6; empty: allocated, kept over restarts."""
    admin: str = ""
    """`address:port` of Envoy's admin interface; empty: `[envoy] admin`, and where
    several proxies share a network namespace the next free port for each."""
    ready: str = ""
    """`address:port` of a listener for /ready alone; empty: `[envoy] ready`."""
    netns: str = ""
    """Path of its network namespace: the VIP then leads nowhere from any other."""
    cgroup: str = ""
    """Path of its cgroup v2 directory, to the same end: for pods in the host's own."""
    credentials: Credentials = Credentials()
    """The proxy's own; `type = ""`: `[consul.credentials]`."""


class Workloads(Section, frozen=True):
    """`[workloads]`: proxies that are not in the file itself."""

    directory: str = ""
    """Drop-in `*.toml` files with `[[proxies]]`; watched."""
    catalog_nodes: list[str] = []
    """Catalog nodes whose connect proxies are this host's; watched."""
    admins: dict[str, str] = {}
    """Proxy id to `address:port` of its Envoy's admin interface, for proxies whose own
    entry names none: the catalog's, which cannot."""


class Envoy(Section, frozen=True):
    """`[envoy]`: defaults for every proxy's Envoy, as consul-dataplane's."""

    admin: str = "127.0.0.1:19000"
    ready: str = ""
    """`address:port` of a listener that serves /ready and nothing else."""
    executable: str = "envoy"
    concurrency: int = 2
    """Worker threads: what `envoy` starts Envoy with, as are the next two."""
    drain_time: int = 30
    """Seconds."""
    drain_strategy: Literal["immediate", "gradual"] = "immediate"
    wait: float = 60.0
    """Seconds that `envoy` waits for the bootstrap, and `wait` for what it is told."""
    shutdown_drain_listeners: bool = False
    """Whether `stop` has the inbound listeners drained during the grace period."""
    shutdown_grace_period: float = 0.0
    """Seconds that `stop` leaves Envoy running, so that the service can finish."""
    dump_config_on_exit: bool = False
    """Whether `stop` prints Envoy's configuration first."""


class Prometheus(Section, frozen=True):
    """`[telemetry.prometheus]`: of the listener for scrapers.

    Central configuration asks for it with `envoy_prometheus_bind_addr`.
    """

    scrape_path: str = "/metrics"
    backend_port: int = 0
    """Port on 127.0.0.1 that is scraped through it; 0: Envoy's own admin."""
    ca_certs: str = ""
    """PEM file for the certificates of scrapers that have one; all three or none."""
    cert: str = ""
    key: str = ""


class Telemetry(Section, frozen=True):
    """`[telemetry]`: Envoy's own metrics."""

    use_central_config: bool = True
    """Carry out the `envoy_*` keys of proxy-defaults and service-defaults."""
    prometheus: Prometheus = Prometheus()


class Api(Section, frozen=True):
    """`[api]`: the controller's local HTTP endpoint."""

    enabled: bool = True
    socket: str = ""
    """Path of the unix socket; empty: `api.sock` in `bootstrap.directory`."""
    listen: str = ""
    """`address:port` to serve reads and metrics on, too; empty: nowhere."""
    users: list[str] = []
    """Who may register proxies over the socket besides root and the controller's own
    user: names or uids."""


class Probe(Section, frozen=True):
    """`[probe]`: the health probe of the servers' gRPC port. Seconds."""

    interval: float = 1.0
    timeout: float = 1.0
    rise: int = 2
    """Successes in a row that make a failing server ready."""
    fall: int = 3
    """Failures in a row that make a ready server failing."""


class Dns(Section, frozen=True):
    """`[dns]`: a VIP for DNS queries to the servers."""

    enabled: bool = False
    vip: str = "127.64.0.53"
    port: int = 53
    server_port: int = 8600


class Log(Section, frozen=True):
    """`[log]`: what goes to standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


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
