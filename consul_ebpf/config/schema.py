"""The TOML contract as values: every key, its default, its unit and its reason.

`load.py` fills these from the file, the environment and flags, and checks them.
"""

from typing import Literal

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, and strict about keys it does not know."""


class Tls(Section):
    """`[consul.tls]`: TLS to the servers' gRPC port, ours and Envoy's."""

    disabled: bool = False
    """Plaintext gRPC. Off by default, so that plaintext is somebody's decision."""


class Credentials(Section):
    """`[consul.credentials]`: the controller's own ACL token, the default for proxies."""

    type: Literal["", "static", "login"] = ""
    token: str = ""
    token_file: str = ""
    """Read again whenever it changes."""


class Consul(Section):
    """`[consul]`: where the servers are and how to ask."""

    http_addresses: list[str] = []
    """HTTP(S) API addresses, agents or servers, tried in turn.
    Default: http://127.0.0.1:8500."""
    source: Literal["catalog", "watch", "static", "dns", "exec"] = "catalog"
    addresses: list[str] = []
    """For `static`: `ip` or `ip:port` of each server's gRPC port."""
    grpc_port: int = 8502
    """Where the source gives no port."""
    datacenter: str = ""
    """Empty: the datacenter of the agent that answers."""
    tls: Tls = Tls()
    credentials: Credentials = Credentials()


class Kernel(Section):
    """`[kernel]`: where the program is attached and which addresses are VIPs."""

    cgroup: str = "auto"
    """Path of a cgroup v2 directory; `auto`: the true root."""
    bpffs: str = "/sys/fs/bpf"
    """Mounted BPF file system; our pins live in one directory below it."""
    vip_cidr: str = "127.64.0.0/10"
    """Cannot leave the host, whatever happens. IPv4."""
    vip_port: int = 8502
    retry_window: float = 6.0
    """Seconds. A connect from a VIP this soon after its last one is a retry and gets
    the next server; a little more than Envoy's longest back-off (5 s)."""
    max_proxies: int = 65536
    """Capacity of the VIP table. Its memory is taken when the tables are made."""


class Bootstrap(Section):
    """`[bootstrap]`: where the files for Envoy go."""

    directory: str = "/run/consul-ebpf"
    owner: str = ""
    """`user` or `user:group` that owns the files; empty: the controller's own."""


class ProxyEntry(Section):
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
    """`address:port` of Envoy's admin interface; empty: `[envoy] admin`."""


class Workloads(Section):
    """`[workloads]`: proxies that are not in the file itself."""

    directory: str = ""
    """Drop-in `*.toml` files with `[[proxies]]`; watched."""
    catalog_nodes: list[str] = []
    """Catalog nodes whose connect proxies are this host's; watched."""


class Envoy(Section):
    """`[envoy]`: defaults for every proxy's Envoy, as consul-dataplane's."""

    admin: str = "127.0.0.1:19000"
    executable: str = "envoy"


class Probe(Section):
    """`[probe]`: the health probe of the servers' gRPC port. Seconds."""

    interval: float = 1.0
    timeout: float = 1.0
    rise: int = 2
    """Successes in a row that make a failing server ready."""
    fall: int = 3
    """Failures in a row that make a ready server failing."""


class Config(Section):
    """The whole file."""

    consul: Consul = Consul()
    kernel: Kernel = Kernel()
    bootstrap: Bootstrap = Bootstrap()
    proxies: list[ProxyEntry] = []
    workloads: Workloads = Workloads()
    envoy: Envoy = Envoy()
    probe: Probe = Probe()
