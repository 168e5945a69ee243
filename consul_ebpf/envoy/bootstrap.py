"""Envoy's bootstrap for a proxy: the whole of it as data, one part per function.

It says what consul-dataplane's says, and what Envoy needs besides when nothing stands
between it and the Consul servers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from consul_ebpf.envoy.central import (
    Central,
    json_fragment,
    json_object,
    json_texts,
    parse,
    stats_tags_of,
    wrong,
)
from consul_ebpf.envoy.listeners import (
    PROMETHEUS_BACKEND,
    SELF_ADMIN,
    Prometheus,
    backend_cluster,
    prometheus_listener,
    prometheus_secrets,
    ready_listener,
    socket_address,
    stats_listener,
)
from consul_ebpf.envoy.sinks import collector_cluster, stats_sinks
from consul_ebpf.envoy.stats_tags import stats_tags
from consul_ebpf.envoy.tls import XdsTls, transport_socket
from consul_ebpf.envoy.xds import dynamic_resources, xds_cluster
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.names import check_proxy, shown
from consul_ebpf.model.values import BootstrapParams, PlacedProxy, Proxy

_TYPE = "type.googleapis.com/envoy"

Part = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What Envoy tells of itself, beyond what central configuration says."""

    use_central_config: bool = True
    prometheus: Prometheus = field(default_factory=Prometheus)


class EnvoyBootstrap:
    """Renders bootstraps: consul-dataplane's, for a direct connection.

    Implements `BootstrapRenderer`.

    Args:
        admin: address and port of Envoy's admin interface where a proxy names none;
            the default is consul-dataplane's.
        ready: the same for a listener that serves /ready alone; None: there is none.
        datacenter: labels the metrics where Consul does not say; empty leaves the
            label out.
        token_file: says where a proxy's token file (`envoy.token`) is; Envoy does not
            start without it. None, as its answer too: no token is asked for.
        tls: to the servers; None: plaintext.
        telemetry: the metrics.
        env: what `$NAME` in central configuration means.
    """

    def __init__(
        self,
        *,
        admin: tuple[str, int] = ("127.0.0.1", 19000),
        ready: tuple[str, int] | None = None,
        datacenter: str = "",
        token_file: Callable[[Proxy], Path | None] | None = None,
        tls: XdsTls | None = None,
        telemetry: Telemetry = Telemetry(),
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._admin = admin
        self._ready = ready
        self._datacenter = datacenter
        self._token_file = token_file
        self._tls = tls
        self._telemetry = telemetry
        self._env = env

    def __repr__(self) -> str:
        return f"<EnvoyBootstrap {'TLS' if self._tls else 'plaintext'}>"

    def render(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> Mapping[str, Any]:
        """Return the bootstrap as JSON-ready data.

        What Consul says (`params`) goes before what the proxy's own entry says.

        Raises:
            InvalidProxyError: the proxy, or central configuration, holds what no
                bootstrap may hold.
        """
        proxy = placed.proxy
        check_proxy(proxy)
        named = f"proxy {shown(proxy.id)}"
        params = _completed(proxy, params or BootstrapParams(), self._datacenter)
        config = params.config if self._telemetry.use_central_config else {}
        central = parse(config, named)
        tracing = json_object(central, "envoy_tracing_json", named)
        sinks = stats_sinks(central, self._env, named)
        flush = central.envoy_stats_flush_interval
        return {
            "admin": admin(proxy, self._admin, params.access_logs),
            "node": node(proxy, params),
            "layered_runtime": layered_runtime(),
            "static_resources": self._static_resources(placed, params, central),
            **({"stats_sinks": sinks} if sinks else {}),
            "stats_config": json_object(central, "envoy_stats_config_json", named)
            or stats_config(proxy, params, stats_tags_of(central)),
            **({"stats_flush_interval": flush} if flush else {}),
            **({"tracing": tracing} if tracing else {}),
            "dynamic_resources": dynamic_resources(),
        }

    def _static_resources(
        self, placed: PlacedProxy, params: BootstrapParams, central: Central
    ) -> Part:
        proxy, prometheus = placed.proxy, self._telemetry.prometheus
        named = f"proxy {shown(proxy.id)}"
        token_file = self._token_file(proxy) if self._token_file else None
        xds = xds_cluster(placed.vip, token_file)
        if self._tls is not None:
            xds["transport_socket"] = transport_socket(self._tls, proxy)
        listeners, clusters, secrets = [], [xds], []
        if where := _bind_address(central, "envoy_prometheus_bind_addr", named):
            listeners.append(prometheus_listener(where, prometheus))
            secrets = prometheus_secrets(prometheus)
            if prometheus.backend_port:
                to = socket_address("127.0.0.1", prometheus.backend_port)
                clusters.append(backend_cluster(PROMETHEUS_BACKEND, to))
        if where := _bind_address(central, "envoy_stats_bind_addr", named):
            listeners.append(stats_listener(where))
        if where := proxy.ready or self._ready:
            listeners.append(ready_listener(where))
        if any(SELF_ADMIN in _clusters_of(each) for each in listeners):
            to = socket_address(*(proxy.admin or self._admin))
            clusters.append(backend_cluster(SELF_ADMIN, to))
        if directory := central.envoy_telemetry_collector_bind_socket_dir:
            clusters.append(collector_cluster(directory, params.namespace, proxy))
        clusters += json_fragment(central, "envoy_extra_static_clusters_json", named)
        listeners += json_fragment(central, "envoy_extra_static_listeners_json", named)
        return {
            "clusters": clusters,
            **({"listeners": listeners} if listeners else {}),
            **({"secrets": secrets} if secrets else {}),
        }


def _completed(
    proxy: Proxy, params: BootstrapParams, datacenter: str
) -> BootstrapParams:
    """Fill in, from the proxy's own entry, what Consul does not say."""
    return replace(
        params,
        identity=params.identity or proxy.service,
        namespace=params.namespace or proxy.namespace,
        partition=params.partition or proxy.partition,
        datacenter=params.datacenter or datacenter,
        node_name=params.node_name or proxy.node,
    )


def _bind_address(central: Central, key: str, named: str) -> tuple[str, int] | None:
    text = getattr(central, key)
    if not text:
        return None
    try:
        address, port = parse_endpoint(text)
    except ValueError as error:
        why = f"{shown(text)}: {error}; write it like 0.0.0.0:20200"
        raise wrong(named, key, why) from None
    return str(address), port


def _clusters_of(listener: Part) -> set[str]:
    """Return the clusters that one of our own listeners leads to."""
    (chain,) = listener["filter_chains"]
    (manager,) = chain["filters"]
    (host,) = manager["typed_config"]["route_config"]["virtual_hosts"]
    return {each["route"]["cluster"] for each in host["routes"] if "route" in each}


def admin(
    proxy: Proxy, default: tuple[str, int], access_logs: tuple[str, ...] = ()
) -> Part:
    """Return `admin`; its accesses are logged as proxy-defaults say, else nowhere.

    Raises:
        InvalidProxyError: the proxy's admin address is not one.
    """
    host, port = proxy.admin or default
    try:
        address = str(ip_address(host))
    except ValueError:
        raise InvalidProxyError(
            f"proxy {shown(proxy.id)}: admin address {shown(host)} is not an IP address"
        ) from None
    if not 0 < port < 65536:
        raise InvalidProxyError(
            f"proxy {shown(proxy.id)}: admin port {port} is not between 1 and 65535"
        )
    nowhere = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "/dev/null",
        },
    }
    logs = json_texts(access_logs, "access logs", f"proxy {shown(proxy.id)}")
    return {
        "access_log": logs or [nowhere],
        "address": socket_address(address, port),
    }


def node(proxy: Proxy, params: BootstrapParams) -> Part:
    """Return `node`: by `id` and `node_name` a Consul server finds the proxy."""
    metadata = {
        "node_name": params.node_name,
        "namespace": params.namespace,
        "partition": params.partition,
    }
    return {
        "cluster": params.identity or proxy.id,
        "id": proxy.id,
        "metadata": {key: value for key, value in metadata.items() if value},
    }


def layered_runtime() -> Part:
    """Return `layered_runtime`: room for the large regexes of Consul's routes."""
    layer = {"re2.max_program_size.error_level": 1048576}
    return {"layers": [{"name": "base", "static_layer": layer}]}


def stats_config(proxy: Proxy, params: BootstrapParams, tags: Sequence[str]) -> Part:
    """Return `stats_config`: Consul's labels on Envoy's metrics, after the user's."""
    fixed = {
        "local_cluster": params.identity or proxy.id,
        "consul.source.service": params.identity,
        "consul.source.namespace": params.namespace,
        "consul.source.partition": params.partition,
        "consul.source.datacenter": params.datacenter,
    }
    own = []
    for tag in tags:
        name, equals, value = tag.partition("=")
        own.append({"tag_name": name, "fixed_value": value if equals else "1"})
    return {"stats_tags": own + stats_tags(fixed), "use_all_default_tags": True}
