"""The tables that say where Consul is, and how to ask it."""

from typing import Any, Literal

from consul_ebpf.config.schema.section import Port, Seconds, Section


class Tls(Section, frozen=True):
    """`[consul.tls]`: TLS to the servers, for the controller and for every Envoy."""

    disabled: bool = False
    """The controller and every Envoy talk gRPC to the servers in plaintext."""
    ca_certs: str = ""
    """A PEM file, or a directory of such files. Each certificate in it is trusted, root
    or not, also for `https://` addresses. It is read again whenever it changes. Empty:
    the system's roots."""
    cert: str = ""
    """The client certificate, where the servers ask for one. It is read again whenever
    it changes. An Envoy at `--log-level debug` writes its private key to its log."""
    key: str = ""
    """The private key of `consul.tls.cert`. Empty: it is in the same file."""
    server_name: str = ""
    """The SNI, and the name or IP address that the servers' certificates must have.
    Empty: `server.<consul.datacenter>.<consul.domain>`."""
    http_server_name: str = ""
    """The name that the certificate of an `https://` address must have. Empty: the
    address's host; for an IP address, `consul.tls.server_name` is accepted, too."""
    insecure_skip_verify: bool = False
    """No certificate is verified. The controller logs a warning at each start."""


class Credentials(Section, frozen=True):
    """`[consul.credentials]`: the ACL token of the controller and of its proxies."""

    type: Literal["", "static", "login"] = ""
    """`static` (`token` or `token_file`), `login` (at an auth method), or `""` (no
    token)."""
    token: str = ""
    """For `static`: the ACL token itself. A file is safer."""
    token_file: str = ""
    """For `static`: a file that holds the token. It is read again whenever it
    changes."""
    auth_method: str = ""
    """For `login`: the name of the auth method."""
    bearer_token: str = ""
    """For `login`: the token (a JWT) that the auth method checks. A file is safer."""
    bearer_token_file: str = ""
    """For `login`: a file that holds that token. It is read at each login."""
    namespace: str = ""
    """The namespace of the auth method (Consul Enterprise)."""
    partition: str = ""
    """The partition of the auth method (Consul Enterprise)."""
    datacenter: str = ""
    """The datacenter of the auth method."""
    meta: dict[str, str] = {}
    """Metadata that logins put on the tokens they make."""
    token_ttl: float = 0.0
    """Seconds that a login's token lives (`MaxTokenTTL` of the auth method). Only used
    where Consul's HTTP API cannot be asked for it. 0: unknown; a token is then replaced
    when it is refused."""

    def __repr__(self) -> str:
        """Hide the secrets: a configuration ends up in logs and tracebacks."""
        return f"Credentials(type={self.type!r}, token_file={self.token_file!r}, ...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Hide them from rich too, which does not ask `__repr__`."""
        return [("type", self.type), ("token_file", self.token_file)]


NO_CREDENTIALS = Credentials()


class Consul(Section, frozen=True):
    """`[consul]`: where the servers are, and how to ask for them."""

    http_addresses: list[str] = []
    """Addresses of Consul's HTTP API, of agents or servers, tried in turn, beginning
    with the first if that is on this host, else with any:
    `http[s]://host[:port]` with or without a path (default port 80 or 443),
    `host[:port]` (default port 8500), or `unix:///socket`. The default is only used
    with `source = "catalog"`; with any other source, nothing is asked over HTTP unless
    an address is given."""
    source: Literal["catalog", "watch", "static", "dns", "exec"] = "catalog"
    """Where the list of servers comes from: `catalog` (the HTTP API), `watch` (gRPC's
    WatchServers, as consul-dataplane does; needs no HTTP), `static`, `dns` or
    `exec`."""
    addresses: list[str] = []
    """The servers' gRPC addresses for all sources but `catalog`. For `static`: `ip` or
    `ip:port`. For the others also DNS names and `exec=command`: see
    [Servers](servers.md)."""
    grpc_port: Port = 8502
    """The servers' gRPC port, where the source names none."""
    datacenter: str = ""
    """The datacenter of the servers. Empty: that of the agent that answers."""
    domain: str = "consul"
    """The cluster's DNS domain. It is part of the name in the servers' certificates,
    and of the name that the probe of their DNS asks for."""
    refresh: Seconds = 60.0
    """Seconds until an `exec` command is run again, and until a name without a TTL
    (from /etc/hosts) is looked up again."""
    tls: Tls = Tls()
    credentials: Credentials = Credentials()

    @property
    def certificate_name(self) -> str:
        """The name that every server's certificate must have."""
        made = f"server.{self.datacenter}.{self.domain.strip('.')}"
        return self.tls.server_name or made

    @property
    def certificate_name_keys(self) -> str:
        """The keys that decide `certificate_name`, with their values, for errors."""
        if self.tls.server_name:
            return f"consul.tls.server_name ({self.tls.server_name})"
        return (
            f"consul.datacenter ({self.datacenter}) and consul.domain ({self.domain})"
        )
