"""Envoy's bootstrap for a proxy: the whole of it as data, one part per function.

It says what consul-dataplane's says, and what Envoy needs besides when nothing stands
between it and the Consul servers.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from consul_ebpf._errors import InvalidProxyError
from consul_ebpf._values import BootstrapParams, PlacedProxy, Proxy, Vip
from consul_ebpf.envoy.stats_tags import stats_tags
from consul_ebpf.envoy.tls import XdsTls, transport_socket
from consul_ebpf.envoy.token import token_filters
from consul_ebpf.workloads.checks import check_proxy, shown

CLUSTER = "consul-dataplane"
"""The xDS cluster's name: consul-dataplane's, so that dashboards go on working."""

_TYPE = "type.googleapis.com/envoy"

Part = dict[str, Any]


class EnvoyBootstrap:
    """Renders bootstraps for plaintext gRPC. Implements `BootstrapRenderer`.

    Args:
        admin: address and port of Envoy's admin interface where a proxy names none;
            the default is consul-dataplane's.
        datacenter: labels the metrics; empty leaves the label out.
        token_file: says where a proxy's token file (`envoy.token`) is; Envoy does not
            start without it. None, as its answer too: no token is asked for.
        tls: to the servers; None: plaintext.
    """

    def __init__(
        self,
        *,
        admin: tuple[str, int] = ("127.0.0.1", 19000),
        datacenter: str = "",
        token_file: Callable[[Proxy], Path | None] | None = None,
        tls: XdsTls | None = None,
    ) -> None:
        self._admin = admin
        self._datacenter = datacenter
        self._token_file = token_file
        self._tls = tls

    def __repr__(self) -> str:
        return f"<EnvoyBootstrap {'TLS' if self._tls else 'plaintext'}>"

    def render(
        self,
        placed: PlacedProxy,
        params: BootstrapParams | None = None,  # noqa: ARG002  # see issue 5
    ) -> Mapping[str, Any]:
        """Return the bootstrap as JSON-ready data.

        Raises:
            InvalidProxyError: the proxy holds what no bootstrap may hold.
        """
        proxy = placed.proxy
        check_proxy(proxy)
        cluster = xds_cluster(
            placed.vip, self._token_file(proxy) if self._token_file else None
        )
        if self._tls is not None:
            cluster["transport_socket"] = transport_socket(self._tls, proxy)
        return {
            "admin": admin(proxy, self._admin),
            "node": node(proxy),
            "layered_runtime": layered_runtime(),
            "static_resources": {"clusters": [cluster]},
            "stats_config": stats_config(proxy, self._datacenter),
            "dynamic_resources": dynamic_resources(),
        }


def admin(proxy: Proxy, default: tuple[str, int]) -> Part:
    """Return `admin`; its accesses are not logged.

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
    return {
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": "/dev/null",
                },
            }
        ],
        "address": _socket_address(address, port),
    }


def node(proxy: Proxy) -> Part:
    """Return `node`: by `id` and `node_name` a Consul server finds the proxy."""
    metadata = {
        "node_name": proxy.node,
        "namespace": proxy.namespace,
        "partition": proxy.partition,
    }
    return {
        "cluster": _cluster_of(proxy),
        "id": proxy.id,
        "metadata": {key: value for key, value in metadata.items() if value},
    }


def layered_runtime() -> Part:
    """Return `layered_runtime`: room for the large regexes of Consul's routes."""
    layer = {"re2.max_program_size.error_level": 1048576}
    return {"layers": [{"name": "base", "static_layer": layer}]}


def xds_cluster(vip: Vip, token_file: Path | None) -> Part:
    """Return the cluster of the Consul servers: the VIP is its only endpoint."""
    address = _socket_address(vip.literal, vip.port)
    endpoint = {"endpoint": {"address": address}}
    options = f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                # A server that has enough streams ends ours and keeps the connection.
                # One request for each makes a retry a connect(), and the kernel picks
                # another server. xDS is one request, so it costs nothing.
                "common_http_protocol_options": {"max_requests_per_connection": 1},
                "explicit_http_config": {
                    "http2_protocol_options": {
                        # Finds a server that is gone without a word. Consul hangs up on
                        # who asks more often than every 15 s.
                        "connection_keepalive": {"interval": "20s", "timeout": "5s"}
                    }
                },
                **({"http_filters": token_filters(token_file)} if token_file else {}),
            }
        },
    }


def stats_config(proxy: Proxy, datacenter: str) -> Part:
    """Return `stats_config`: Consul's labels on Envoy's metrics."""
    fixed = {
        "local_cluster": _cluster_of(proxy),
        "consul.source.service": proxy.service,
        "consul.source.namespace": proxy.namespace,
        "consul.source.partition": proxy.partition,
        "consul.source.datacenter": datacenter,
    }
    return {"stats_tags": stats_tags(fixed), "use_all_default_tags": True}


def dynamic_resources() -> Part:
    """Return `dynamic_resources`: everything comes by xDS, waited for without end."""
    by_ads = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    return {"lds_config": by_ads, "cds_config": by_ads, "ads_config": ads()}


def ads() -> Part:
    """Return `ads_config`: one delta stream to the servers.

    Envoy waits a random part of 0.1 s before the first retry, of 0.2 s before the
    second, and so on: with one server dead the next is reached within 0.3 s, with two
    within 0.7 s. A message from a server starts it over. It waits 2 s at most: where
    every server is full, room comes within seconds, when Consul has counted anew.
    """
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [
            {
                "envoy_grpc": {
                    "cluster_name": CLUSTER,
                    "retry_policy": {
                        "retry_back_off": {
                            "base_interval": "0.1s",
                            "max_interval": "2s",
                        }
                    },
                }
            }
        ],
    }


def _cluster_of(proxy: Proxy) -> str:
    return proxy.service or proxy.id


def _socket_address(address: str, port: int) -> Part:
    return {"socket_address": {"address": address, "port_value": port}}
