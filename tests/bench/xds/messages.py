"""The messages of an xDS stream, with the fields that the bench needs."""

from collections.abc import Sequence

from google.protobuf import struct_pb2

from consul_ebpf.client.descriptors import Messages

_PACKAGE = "envoy.service.discovery.v3"
METHOD = f"/{_PACKAGE}.AggregatedDiscoveryService/DeltaAggregatedResources"
CLUSTERS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

_MESSAGES = Messages(
    [_PACKAGE],
    {
        f"{_PACKAGE}.Node": {
            "id": (1, "string"),
            "cluster": (2, "string"),
            "metadata": (3, ".google.protobuf.Struct"),
        },
        f"{_PACKAGE}.DeltaDiscoveryRequest": {
            "node": (1, f".{_PACKAGE}.Node"),
            "type_url": (2, "string"),
            "resource_names_subscribe": (3, "repeated string"),
            "response_nonce": (6, "string"),
        },
        f"{_PACKAGE}.Resource": {"name": (3, "string")},
        f"{_PACKAGE}.DeltaDiscoveryResponse": {
            "resources": (2, f"repeated .{_PACKAGE}.Resource"),
            "nonce": (5, "string"),
        },
    },
    struct_pb2.DESCRIPTOR,
)
Request = _MESSAGES[f"{_PACKAGE}.DeltaDiscoveryRequest"]
Response = _MESSAGES[f"{_PACKAGE}.DeltaDiscoveryResponse"]


def first_request(proxy: str, service: str, node: str) -> bytes:
    """Return what an Envoy says first: who it is, and that it wants its clusters."""
    request = Request(type_url=CLUSTERS)
    request.node.id = proxy
    request.node.cluster = service
    request.node.metadata.update({"node_name": node})
    written: bytes = request.SerializeToString()
    return written


def next_request(kind: str, names: Sequence[str] = (), nonce: str = "") -> bytes:
    """Return a wish for these, or for them once more, and thanks for an answer."""
    request = Request(
        type_url=kind, resource_names_subscribe=names, response_nonce=nonce
    )
    written: bytes = request.SerializeToString()
    return written
