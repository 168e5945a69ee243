"""Makes what asks Consul: sources, probes, pools, calls and tokens."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv4Network
from pathlib import Path

from consul_ebpf.base.reading import PLAIN, Reader
from consul_ebpf.base.tls import TlsFiles
from consul_ebpf.client.acl import ConsulAcl
from consul_ebpf.client.calls import ServerCalls
from consul_ebpf.client.channels import ChannelFactory, TlsChannels, insecure_channel
from consul_ebpf.client.dataplane import bootstrap_params
from consul_ebpf.client.token import TokenSource
from consul_ebpf.client.transport import Https
from consul_ebpf.config import proxies as entries
from consul_ebpf.config.dns import service_of
from consul_ebpf.config.schema import Config, Tls
from consul_ebpf.controller.cells import Cells
from consul_ebpf.model.seams import HealthProbe, ServerSource
from consul_ebpf.model.values import (
    PooledServer,
    Server,
    ServerState,
)
from consul_ebpf.proxies.params import CentralConfig
from consul_ebpf.servers.pool import PoolSettings, ServerPool
from consul_ebpf.servers.probe import GrpcProbe
from consul_ebpf.servers.sources.catalog import CatalogSource
from consul_ebpf.servers.sources.static import StaticSource
from consul_ebpf.tokens.keeper import TokenKeeper
from consul_ebpf.tokens.memory import TokenMemory

MAX_DNS_FALL = 2
"""Failures in a row that make a server's DNS failing, unless `probe.fall` is less.
glibc sends its tries from one connected socket, which must be cut before the third."""


class Parts:
    """Makes the parts that ask Consul from one configuration.

    They share the TLS files, which are read again when they change, and the
    controller's ACL token, which `keeper` renews while it runs.
    """

    def __init__(self, config: Config, reader: Reader = PLAIN) -> None:
        """Take the configuration; `reader` reads the tokens' files."""
        self._config = config
        self._reader = reader
        self.cells = Cells()
        """The values that these parts and the runner's exchange."""
        self.tls = _tls_files(config.consul.tls)

    def __repr__(self) -> str:
        return f"<Parts {self._config.consul.source}>"

    @cached_property
    def https(self) -> Https:
        """How to verify https addresses."""
        consul = self._config.consul
        known = consul.tls.server_name or consul.datacenter
        return Https(
            self.tls,
            consul.tls.http_server_name or None,
            consul.certificate_name if known else None,
            consul.certificate_name_keys,
        )

    @cached_property
    def channels(self) -> tuple[ChannelFactory, Callable[[str], str]]:
        """What makes channels to targets, and what says why there is none to one."""
        consul = self._config.consul
        if consul.tls.disabled:
            return insecure_channel, lambda _: ""
        channels = TlsChannels(
            self.tls, consul.certificate_name, consul.certificate_name_keys
        )
        return channels, channels.explain

    @cached_property
    def calls(self) -> ServerCalls:
        """What calls the pool's ready servers by gRPC."""
        return ServerCalls(self._ready, *self.channels)

    @cached_property
    def keeper(self) -> TokenKeeper:
        """The keeper of the proxies' tokens and the controller's own."""
        consul = self._config.consul
        acl = ConsulAcl(
            self.calls,
            consul.http_addresses,
            https=self.https,
            datacenter=consul.datacenter,
            reader=self._reader,
        )
        default = entries.to_credentials(consul.credentials)
        return TokenKeeper(
            acl,
            self._token_memory,
            default,
            proxies=self.cells.proxies,
            doubts=(self.cells.reconnected, self.cells.refused),
            unused=self.cells.unused,
            reader=self._reader,
        )

    @cached_property
    def _token_memory(self) -> TokenMemory:
        return TokenMemory(Path(self._config.bootstrap.directory))

    def server_source(self, token: TokenSource) -> ServerSource:
        """Make the source named by `consul.source`."""
        consul = self._config.consul
        if consul.source == "static":
            return StaticSource(consul.addresses, consul.grpc_port)
        if consul.source != "catalog":
            return self._seeded_source(token)
        return CatalogSource(
            consul.http_addresses,
            datacenter=consul.datacenter,
            token=token,
            grpc_port=consul.grpc_port,
            tls=not consul.tls.disabled,
            https=self.https,
        )

    def _seeded_source(self, token: TokenSource) -> ServerSource:
        """Make one of the sources that resolve names: "watch", "dns" or "exec"."""
        # 2 MB of memory, mostly dnspython's, which the other sources do not need.
        from consul_ebpf.servers.sources import names, watch  # noqa: PLC0415

        consul = self._config.consul
        resolver = names.Resolver(consul.addresses, consul.grpc_port, consul.refresh)
        if consul.source != "watch":
            return names.ResolvingSource(resolver, consul.refresh)
        factory, explain = self.channels
        return watch.WatchSource(
            resolver,
            factory,
            grpc_port=consul.grpc_port,
            token=token,
            explain=explain,
            vip_network=IPv4Network(self._config.kernel.vip_cidr),
        )

    def probe(self) -> HealthProbe:
        """Make the probe of the servers' gRPC port."""
        factory, explain = self.channels
        return GrpcProbe(
            timeout=self._config.probe.timeout, channel_factory=factory, explain=explain
        )

    def server_pool(self, known: Iterable[PooledServer] = ()) -> ServerPool:
        """Make the pool of servers: the configured source, probed over gRPC.

        `known` are servers that an earlier process knew.
        """
        return ServerPool(
            self.server_source(self.keeper.host_token),
            self.probe(),
            settings=self._pool_settings,
            known=known,
        )

    def dns_probe(self) -> HealthProbe:
        """Make the probe of the servers' DNS port."""
        # 2 MB of memory, only needed where DNS is served.
        from consul_ebpf.dns.probe import DnsProbe  # noqa: PLC0415

        config = self._config
        return DnsProbe(
            service_of(config.dns), config.consul.domain, timeout=config.probe.timeout
        )

    def dns_pool(
        self, source: ServerSource, known: Iterable[PooledServer]
    ) -> ServerPool:
        """Make the pool of the servers' DNS; `source` lists the servers."""
        return ServerPool(
            source,
            self.dns_probe(),
            settings=replace(
                self._pool_settings, fall=min(self._config.probe.fall, MAX_DNS_FALL)
            ),
            known=known,
            service=service_of(self._config.dns),
        )

    @property
    def _pool_settings(self) -> PoolSettings:
        probe = self._config.probe
        return PoolSettings(
            interval=probe.interval,
            rise=probe.rise,
            fall=probe.fall,
            vip_network=IPv4Network(self._config.kernel.vip_cidr),
        )

    def central(self) -> CentralConfig:
        """Make what asks Consul for the proxies' central configuration."""
        bootstrap = self._config.bootstrap
        return CentralConfig(
            functools.partial(bootstrap_params, self.calls),
            bootstrap.refresh,
            bootstrap.patience,
            proxies=self.cells.proxies,
            tokens=self.keeper.tokens,
            refused=self.cells.refused,
        )

    def _ready(self) -> list[Server]:
        servers = self.cells.pooled.value or ()
        return [each.server for each in servers if each.state is ServerState.READY]


def _tls_files(tls: Tls) -> TlsFiles:
    return TlsFiles(
        ca_certs=tls.ca_certs,
        cert=tls.cert,
        key=tls.key,
        verify=not tls.insecure_skip_verify,
    )
