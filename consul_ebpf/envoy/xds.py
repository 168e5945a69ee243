"""The way to the Consul servers: the xDS cluster, and what Envoy asks it for."""

from pathlib import Path
from typing import Any

from consul_ebpf.envoy.listeners import socket_address
from consul_ebpf.envoy.token import token_filters
from consul_ebpf.model.values import Vip

CLUSTER = "consul-dataplane"
"""The xDS cluster's name: consul-dataplane's, so that dashboards go on working."""

_TYPE = "type.googleapis.com/envoy"

Part = dict[str, Any]


def xds_cluster(vip: Vip, token_file: Path | None) -> Part:
    """Return the cluster of the Consul servers: the VIP is its only endpoint."""
    address = socket_address(vip.literal, vip.port)
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
