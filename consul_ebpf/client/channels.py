"""Channels to the servers' gRPC port, plaintext or TLS."""

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import TypeAlias

import grpc

from consul_ebpf.base.tls import TlsFiles
from consul_ebpf.client.tunnel import Tunnel
from consul_ebpf.model.values import Server

OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),  # $http_proxy is not meant for us
    ("grpc.use_local_subchannel_pool", 1),  # no sharing: a new channel reconnects
    # A call in between fails by what was before; a fifth is added at random.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 5000),  # in fact a connect's own deadline
    # The largest answer, a central configuration, has some kilobytes.
    ("grpc.max_receive_message_length", 1024 * 1024),
    # Servers hang up on who pings more often than every 15 s, or without a stream.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

Channel: TypeAlias = grpc.aio.Channel

ChannelFactory = Callable[[str], Channel]
"""Makes a channel to a gRPC target such as `ipv4:10.0.0.1:8502`."""


def insecure_channel(target: str) -> Channel:
    """Make a plaintext channel that reconnects quickly."""
    return grpc.aio.insecure_channel(target, options=OPTIONS)


class TlsChannels:
    """A `ChannelFactory` for TLS, by Python's own TLS (see `tunnel`).

    Args:
        files: asked for at each connection, so that they may change.
        server_name: SNI, and the name to find in the certificate; or an IP address.
        named_by: the keys of the configuration that made the name, for messages.
    """

    def __init__(
        self,
        files: TlsFiles,
        server_name: str,
        named_by: str = "consul.tls.server_name",
    ) -> None:
        self._files = files
        self._server_name = server_name
        self._named_by = named_by
        self._tunnels: dict[str, Tunnel] = {}

    def __repr__(self) -> str:
        return f"<TlsChannels {self._server_name} {self._files!r}>"

    def __call__(self, target: str) -> Channel:
        """Make a channel; the tunnel to its target stays until `aclose`."""
        tunnel = self._tunnels.get(target)
        if tunnel is None:
            _, _, endpoint = target.partition(":")
            host, _, port = endpoint.rpartition(":")
            tunnel = Tunnel(
                host.strip("[]"),
                int(port),
                self._files,
                self._server_name,
                self._named_by,
            )
            self._tunnels[target] = tunnel
        name = self._server_name
        authority = f"[{name}]" if ":" in name else name
        options = (*OPTIONS, ("grpc.default_authority", authority))
        return grpc.aio.insecure_channel(tunnel.start(), options=options)

    def explain(self, target: str) -> str:
        """Return why the newest TLS connection to a target failed; empty: it did not.

        gRPC itself only sees that there is no connection.
        """
        tunnel = self._tunnels.get(target)
        return tunnel.failure if tunnel else ""

    async def aclose(self) -> None:
        """Close all tunnels; usable again afterwards."""
        tunnels, self._tunnels = list(self._tunnels.values()), {}
        for tunnel in tunnels:
            await tunnel.aclose()


def target_of(server: Server) -> str:
    """Name a server's endpoint so that gRPC resolves nothing."""
    family = "ipv6" if isinstance(server.address, IPv6Address) else "ipv4"
    return f"{family}:{server.endpoint}"
