"""How Envoy gets to the Consul servers: the xDS cluster, and what it asks it for."""

from pathlib import Path

from consul_ebpf.envoy.parts import (
    Part,
    http_options,
    load_assignment,
    socket_address,
)
from consul_ebpf.envoy.token import token_filters
from consul_ebpf.model.values import Vip

CLUSTER = "consul-dataplane"
"""The xDS cluster's name: consul-dataplane's, so that dashboards go on working."""


def xds_cluster(vip: Vip, token_file: Path | None) -> Part:
    """Return the cluster of the Consul servers: the VIP is its only endpoint."""
    # A server that has too many streams ends ours and keeps the connection. With one
    # request for each connection a retry is a connect(), and the kernel picks another
    # server. xDS is one request, so it costs nothing.
    one_request = {"max_requests_per_connection": 1}
    # Notices a server that is gone without a word. Consul hangs up on clients that ask
    # more often than every 15 s.
    keepalive = {"interval": "20s", "timeout": "5s"}
    http2 = {"http2_protocol_options": {"connection_keepalive": keepalive}}
    filters = {"http_filters": token_filters(token_file)} if token_file else {}
    return {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": load_assignment(
            CLUSTER, socket_address(vip.literal, vip.port)
        ),
        "typed_extension_protocol_options": http_options(
            common_http_protocol_options=one_request,
            explicit_http_config=http2,
            **filters,
        ),
    }


def dynamic_resources() -> Part:
    """Return `dynamic_resources`: all comes by xDS, and Envoy waits for it for ever."""
    by_ads = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    return {"lds_config": by_ads, "cds_config": by_ads, "ads_config": ads()}


def ads() -> Part:
    """Return `ads_config`: one delta stream to the servers.

    Envoy waits a random part of 0.1 s before the first retry, of 0.2 s before the
    second, and so on: with one server dead it reaches the next within 0.3 s, with two
    dead within 0.7 s. A message from a server starts the back-off anew. It waits at
    most 2 s: where every server is full, there is room within seconds, once Consul has
    counted anew.
    """
    back_off = {"base_interval": "0.1s", "max_interval": "2s"}
    grpc = {"cluster_name": CLUSTER, "retry_policy": {"retry_back_off": back_off}}
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": grpc}],
    }
