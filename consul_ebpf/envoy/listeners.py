"""Envoy's static listeners: for scrapers of metrics, and for /ready.

Each serves one path of Envoy's admin interface and no other.
"""

from pathlib import Path

from consul_ebpf.envoy.parts import (
    Address,
    Part,
    extension,
    load_assignment,
    socket_address,
)
from consul_ebpf.model.values import Prometheus

SELF_ADMIN = "self_admin"
PROMETHEUS_BACKEND = "prometheus_backend"


def prometheus_listener(address: Address, prometheus: Prometheus) -> Part:
    """Return the listener of `envoy_prometheus_bind_addr`."""
    path = "/" + prometheus.scrape_path.partition("?")[0].lstrip("/")
    cluster = PROMETHEUS_BACKEND if prometheus.backend_port else SELF_ADMIN
    listener = _listener(
        "envoy_prometheus_metrics",
        address,
        {"path": path},
        "/stats/prometheus",
        cluster,
    )
    if prometheus.cert:
        listener["filter_chains"][0]["transport_socket"] = _downstream_tls()
    return listener


def stats_listener(address: Address) -> Part:
    """Return the listener of `envoy_stats_bind_addr`."""
    return _listener(
        "envoy_metrics", address, {"prefix": "/stats"}, "/stats", SELF_ADMIN
    )


def ready_listener(address: Address) -> Part:
    """Return the listener that serves /ready."""
    return _listener("envoy_ready", address, {"path": "/ready"}, "/ready", SELF_ADMIN)


def backend_cluster(name: str, address: Part) -> Part:
    """Return a cluster with one endpoint, on this host."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": load_assignment(name, address),
    }


def prometheus_secrets(prometheus: Prometheus) -> list[Part]:
    """Return `static_resources.secrets` for TLS on the Prometheus listener.

    They are as consul-dataplane's. In a trial Envoy did not watch these directories: it
    must be restarted after the certificate was renewed.
    """
    if not prometheus.cert:
        return []
    watched = {"path": str(Path(prometheus.cert).parent)}
    certificate = {
        "certificate_chain": {"filename": prometheus.cert},
        "private_key": {"filename": prometheus.key},
        "watched_directory": watched,
    }
    ca = prometheus.ca_certs
    validation = {
        "trusted_ca": {"filename": ca},
        "watched_directory": {"path": str(Path(ca).parent)},
    }
    return [
        {"name": "prometheus_cert", "tls_certificate": certificate},
        {"name": "prometheus_validation_context", "validation_context": validation},
    ]


def _listener(
    name: str, address: Address, match: Part, rewrite: str, cluster: str
) -> Part:
    routes = [
        {"match": match, "route": {"cluster": cluster, "prefix_rewrite": rewrite}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]
    host = {"name": SELF_ADMIN, "domains": ["*"], "routes": routes}
    router = extension(
        "envoy.filters.http.router", "extensions.filters.http.router.v3.Router"
    )
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="HTTP1",
        route_config={"name": "self_admin_route", "virtual_hosts": [host]},
        http_filters=[router],
    )
    return {
        "name": f"{name}_listener",
        "address": socket_address(*address),
        "filter_chains": [{"filters": [manager]}],
    }


def _downstream_tls() -> Part:
    context = {
        "tls_certificate_sds_secret_configs": [{"name": "prometheus_cert"}],
        "validation_context_sds_secret_config": {
            "name": "prometheus_validation_context"
        },
    }
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        # As consul-dataplane does: a scraper without a certificate is served.
        require_client_certificate=False,
        common_tls_context=context,
    )
