"""Where Envoy sends its metrics: `stats_sinks`, and the telemetry collector."""

import base64
import hashlib
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from consul_ebpf.envoy.central import Central, json_fragment, wrong
from consul_ebpf.model.values import Proxy

COLLECTOR = "consul_telemetry_collector_loopback"

HOST_IP = "HOST_IP"
"""The only variable that is replaced inside of an address."""

_TYPE = "type.googleapis.com/envoy"
_V3 = f"{_TYPE}.config.metrics.v3"

Part = dict[str, Any]


def stats_sinks(central: Central, env: Mapping[str, str], named: str) -> list[Part]:
    """Return the sinks that central configuration asks for.

    Raises:
        InvalidProxyError: an address is none, or its variable is not set.
    """
    sinks = []
    for key, name, kind in (
        ("envoy_statsd_url", "envoy.stat_sinks.statsd", "StatsdSink"),
        ("envoy_dogstatsd_url", "envoy.stat_sinks.dog_statsd", "DogStatsdSink"),
    ):
        if text := getattr(central, key):
            address = _address(_expanded(text, env, key, named), key, named)
            config = {"@type": f"{_V3}.{kind}", "address": address}
            sinks.append({"name": name, "typed_config": config})
    sinks += json_fragment(central, "envoy_extra_stats_sinks_json", named)
    if central.envoy_telemetry_collector_bind_socket_dir:
        sinks.append(_collector_sink())
    return sinks


def collector_cluster(directory: str, namespace: str, proxy: Proxy) -> Part:
    """Return the cluster of the telemetry collector: a socket that Consul configures.

    Its name is one that Consul computes, too.
    """
    digest = hashlib.sha1(  # noqa: S324  # a name, not a secret
        f"{namespace}_{proxy.id}".encode()
    ).digest()
    name = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    path = f"{directory.rstrip('/')}/{name}.sock"
    options = f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
    endpoint = {"endpoint": {"address": {"pipe": {"path": path}}}}
    return {
        "name": COLLECTOR,
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        },
        "load_assignment": {
            "cluster_name": COLLECTOR,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


def _collector_sink() -> Part:
    return {
        "name": "envoy.stat_sinks.metrics_service",
        "typed_config": {
            "@type": f"{_V3}.MetricsServiceConfig",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": COLLECTOR}},
            "emit_tags_as_labels": True,
        },
    }


def _expanded(text: str, env: Mapping[str, str], key: str, named: str) -> str:
    """Replace `$NAME` where it is the whole, and `${HOST_IP}` wherever it is."""
    whole = re.fullmatch(r"\$(\w+)", text)
    names = [whole[1]] if whole else re.findall(r"\$\{(\w+)\}", text)
    for name in names:
        if not whole and name != HOST_IP:
            raise wrong(named, key, f"${{{name}}}: only ${{{HOST_IP}}} is replaced")
        if not env.get(name):
            raise wrong(
                named, key, f"${name} is not set in the controller's own environment"
            )
    if whole:
        return env[whole[1]]
    return text.replace(f"${{{HOST_IP}}}", env.get(HOST_IP, ""))


def _address(text: str, key: str, named: str) -> Part:
    try:
        url = urlsplit(text)
        if url.scheme == "unix" and url.path and key == "envoy_dogstatsd_url":
            return {"pipe": {"path": url.path}}
        if url.scheme == "udp" and url.port:
            host = str(ip_address(url.hostname or ""))
            return {"socket_address": {"address": host, "port_value": url.port}}
    except ValueError:
        pass
    also = " or unix:///path" if key == "envoy_dogstatsd_url" else ""
    raise wrong(named, key, f"write it like udp://127.0.0.1:8125{also}")
