"""The tables that say which proxies there are, and what their Envoys get."""

from typing import Annotated, Literal

from msgspec import Meta

from consul_ebpf.config.schema.consul import Credentials
from consul_ebpf.config.schema.section import Seconds, Section


class Bootstrap(Section, frozen=True):
    """`[bootstrap]`: the files that the controller writes for Envoy."""

    directory: str = "/run/consul-ebpf"
    """The directory where bootstraps and tokens are written."""
    owner: str = ""
    """`user` or `user:group` that owns the files. A user other than the controller's
    own needs `CAP_CHOWN`. Empty: the controller's own."""
    patience: Seconds = 5.0
    """Seconds that a proxy's first bootstrap waits for Consul's central configuration.
    After that it is written without, and written again once Consul has answered."""
    refresh: Seconds = 60.0
    """Seconds between two questions to Consul for a proxy's central configuration."""


class ProxyEntry(Section, frozen=True):
    """One `[[proxies]]`."""

    id: str
    """The ID of the proxy service in Consul."""
    node: str = ""
    """The catalog node that the proxy is registered on."""
    namespace: str = "default"
    """The proxy's namespace (Consul Enterprise)."""
    partition: str = "default"
    """The proxy's partition (Consul Enterprise)."""
    service: str = ""
    """The service that it is a proxy of; names Envoy's cluster. Empty: `id` does."""
    vip: str = ""
    """The proxy's VIP: an address in `kernel.vip_cidr`, or its IPv4-mapped IPv6 form
    (`::ffff:127.64.0.1`) to reach the servers over IPv6. Empty: the controller
    allocates one and keeps it over restarts."""
    admin: str = ""
    """Address and port of Envoy's admin interface. Empty: `envoy.admin`. If several
    proxies share a network namespace, each gets a port of its own, counted from that
    one; it is kept over restarts, and `status` shows it."""
    ready: str = ""
    """`address:port` of a listener that serves Envoy's /ready and nothing else. Empty:
    `envoy.ready`."""
    netns: str = ""
    """Path of the proxy's network namespace (`/run/netns/web-1`,
    `/proc/4711/ns/net`). From any other one, connects to the VIP are refused. Empty:
    they are accepted from everywhere."""
    cgroup: str = ""
    """Path of the proxy's cgroup v2 directory, for pods on the host's network. From
    outside it, connects to the VIP are refused."""
    credentials: Credentials = Credentials()
    """The proxy's own credentials, with the keys of `consul.credentials`. What a
    login leaves out is taken from there."""


class Workloads(Section, frozen=True):
    """`[workloads]`: where to find proxies that are not in this file."""

    directory: str = ""
    """A directory of `*.toml` files with `[[proxies]]`. It is watched for changes."""
    catalog_nodes: list[str] = []
    """Nodes in Consul's catalog: the connect proxies registered on them are this
    host's. They are watched for changes."""
    admins: dict[str, str] = {}
    """`admin` by proxy ID, for proxies whose own entry has none: `{
    web-1-sidecar-proxy = "127.0.0.1:19005" }`."""


class Envoy(Section, frozen=True):
    """`[envoy]`: what applies to every proxy's Envoy, as consul-dataplane's flags."""

    admin: str = "127.0.0.1:19000"
    """Address and port of Envoy's admin interface, for proxies without `admin`."""
    ready: str = ""
    """`address:port` of the listener for /ready, for proxies without `ready`. Empty:
    they have none."""
    executable: str = "envoy"
    """The program that `consul-ebpf envoy` starts."""
    concurrency: int = 2
    """The number of Envoy's worker threads, if `consul-ebpf envoy` starts it."""
    drain_time: int = 30
    """Envoy's `--drain-time-s` in seconds, if `consul-ebpf envoy` starts it."""
    drain_strategy: Literal["immediate", "gradual"] = "immediate"
    """Envoy's `--drain-strategy`, if `consul-ebpf envoy` starts it: `immediate` or
    `gradual`."""
    wait: Seconds = 60.0
    """Seconds that the commands `envoy` and `wait` wait before they fail."""
    shutdown_drain_listeners: bool = False
    """During the grace period, `stop` has Envoy drain its inbound listeners."""
    shutdown_grace_period: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """Seconds that `stop` leaves Envoy running, so that the service can finish."""
    dump_config_on_exit: bool = False
    """`stop` prints Envoy's configuration before it does anything else."""


class Prometheus(Section, frozen=True):
    """`[telemetry.prometheus]`: Envoy's listener for scrapers.

    Central configuration asks for it with `envoy_prometheus_bind_addr`.
    """

    scrape_path: str = "/metrics"
    """Path on the listener that `envoy_prometheus_bind_addr` asks for."""
    backend_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Port on 127.0.0.1 that the listener leads to. 0: Envoy's own admin interface."""
    ca_certs: str = ""
    """PEM file to verify the certificates of scrapers by, if they show one. Give it
    together with `cert` and `key`, or none of the three."""
    cert: str = ""
    """The listener's certificate. Envoy reads it when it starts."""
    key: str = ""
    """The private key of that certificate."""


class Telemetry(Section, frozen=True):
    """`[telemetry]`: Envoy's own metrics."""

    use_central_config: bool = True
    """Apply the `envoy_*` keys of proxy-defaults and service-defaults."""
    prometheus: Prometheus = Prometheus()
