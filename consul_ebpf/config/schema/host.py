"""The tables about this host: its kernel, state, endpoint, probes, DNS and log."""

from typing import Annotated, Literal

from msgspec import Meta

from consul_ebpf.config.schema.section import Port, Seconds, Section


class Kernel(Section, frozen=True):
    """`[kernel]`: where the program is attached, and which addresses are VIPs."""

    cgroup: str = "auto"
    """A cgroup v2 directory: connects of the processes in it and below are redirected.
    `auto`: the root of the hierarchy, which is the whole host."""
    bpffs: str = "/sys/fs/bpf"
    """A mounted BPF file system. The programs and tables are kept in its directory
    `consul-ebpf`."""
    vip_cidr: str = "127.64.0.0/10"
    """The range of the VIPs, within 127.0.0.0/8."""
    vip_port: Port = 8502
    """The port of the VIPs. Without TLS, take one below 1024: see
    [`detach`](../README.md#when-something-ends)."""
    retry_window: Seconds = 35.0
    """Seconds. If a proxy connects again sooner than that, a failure is counted for the
    server of its last connect."""
    # Longer than Envoy may need to give up on a server that accepts and never answers:
    # keepalive (20 + 5 s), connect timeout (1 s), back-off (2 s).
    max_proxies: Annotated[int, Meta(ge=1, le=1 << 20)] = 65536
    """How many VIPs the kernel's table can hold: one for each proxy."""

    destroy_sockets: bool = True
    """Cut the proxies' connections to a dead server, within 6 seconds of its death.
    Without it, Envoy's keepalive ends them within 30 seconds."""


class State(Section, frozen=True):
    """`[state]`: what is kept over a reboot."""

    directory: str = ""
    """Where the last known servers are kept (`servers.json`); it should survive a
    reboot. Empty: `$STATE_DIRECTORY`, which systemd sets, else
    `bootstrap.directory`."""


class Api(Section, frozen=True):
    """`[api]`: the controller's local HTTP endpoint."""

    enabled: bool = True
    """Serve the local HTTP endpoint."""
    socket: str = ""
    """Path of its unix socket, at most 107 bytes. An existing file is only replaced if
    it is a socket at which nobody listens. Empty: `api.sock` in
    `bootstrap.directory`."""
    listen: str = ""
    """IP address and port (`address:port`) that serve reads and metrics, too. Empty:
    only the unix socket does."""
    users: list[str] = []
    """Names or uids of the users who may register proxies, besides root and the
    controller's own user."""


class Probe(Section, frozen=True):
    """`[probe]`: how the servers' gRPC ports are probed."""

    interval: Seconds = 1.0
    """Seconds between two probes of a server."""
    timeout: Seconds = 1.0
    """Seconds without an answer after which a probe has failed."""
    rise: Annotated[int, Meta(ge=1, le=1000)] = 2
    """Successes in a row that make a failing server ready."""
    fall: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Failures in a row that make a ready server failing. For a server's DNS, 2 are
    enough."""


class Dns(Section, frozen=True):
    """`[dns]`: one VIP of this host for DNS, answered by the Consul servers.

    The servers' DNS ports are probed as often as their gRPC ports are: `[probe]`. A
    mistake in this table costs DNS alone: the log, `status` and `doctor` name it.
    """

    enabled: bool = False
    """Redirect queries to the VIP to a server whose DNS answers."""
    vip: str = "127.64.0.53"
    """An IPv4 address in `kernel.vip_cidr` that is no proxy's VIP. Resolvers that speak
    IPv6 may use it as `::ffff:127.64.0.53`."""
    port: int = 53
    """The VIP's port, UDP and TCP: 1 to 65535, and not `kernel.vip_port`."""
    server_port: int = 8600
    """The servers' DNS port (`ports.dns`), 1 to 65535, the same at every server."""
    cgroups: list[str] = []
    """Cgroup v2 directories, at most 16: only the processes in them and below may ask.
    A missing one is reported, and used once it is there. Empty: any process of the host
    may ask, as with any resolver."""


class Log(Section, frozen=True):
    """`[log]`: what the controller writes to standard error."""

    format: Literal["text", "json"] = "text"
    """`text` or `json`. Each record is one line of printable characters; its time
    carries the offset from UTC."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is written: `debug`, `info`, `warning` or `error`."""
