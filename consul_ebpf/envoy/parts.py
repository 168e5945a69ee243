"""Forms that recur in Envoy's configuration, as JSON-ready data."""

from typing import Any

TYPE = "type.googleapis.com/envoy."
"""Begins the name of every type of Envoy's own."""

Part = dict[str, Any]
"""A message of Envoy's configuration."""

Address = tuple[str, int]
"""An IP address and a port."""


def extension(name: str, kind: str, **config: Any) -> Part:
    """Return an extension's name and its configuration.

    Args:
        name: of the extension.
        kind: of its configuration: the type's name behind `envoy.`.
        config: the configuration's fields.
    """
    return {"name": name, "typed_config": {"@type": TYPE + kind, **config}}


def socket_address(address: str, port: int) -> Part:
    """Return Envoy's Address of a TCP or UDP socket."""
    return {"socket_address": {"address": address, "port_value": port}}


def load_assignment(cluster: str, address: Part) -> Part:
    """Return the endpoints of a static cluster: one, at an Address."""
    endpoint = {"endpoint": {"address": address}}
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [endpoint]}]}


def http_options(**options: Any) -> Part:
    """Return a cluster's `typed_extension_protocol_options`: how it speaks HTTP."""
    kind = "extensions.upstreams.http.v3.HttpProtocolOptions"
    return {f"envoy.{kind}": {"@type": TYPE + kind, **options}}


def secret(name: str, **content: Part) -> Part:
    """Return what a file holds that Envoy reads a secret from: a discovery response."""
    kind = f"{TYPE}extensions.transport_sockets.tls.v3.Secret"
    return {"resources": [{"@type": kind, "name": name, **content}]}
