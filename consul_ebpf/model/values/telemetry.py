"""Values of an Envoy's telemetry: how it tells of itself."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Prometheus:
    """How the Prometheus listener is served; paths are on Envoy's file system."""

    scrape_path: str = "/metrics"
    backend_port: int = 0
    """Port on 127.0.0.1 that is scraped; 0: Envoy's own admin interface."""
    ca_certs: str = ""
    """PEM file that the certificates of scrapers are verified with."""
    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ProxyTelemetry:
    """How an Envoy is configured to tell of itself."""

    use_central_config: bool = True
    """Whether the `envoy_*` keys of central configuration are used."""
    prometheus: Prometheus = field(default_factory=Prometheus)
