"""The protobuf messages of the calls to Consul.

They are built from the table below, not generated: it has only the fields that are
used, with Consul's numbers.
"""

from typing import Any

from google.protobuf import struct_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from consul_ebpf.client.descriptors import Fields, Messages

PREFIX = "hashicorp.consul"

_FIELDS: dict[str, Fields] = {
    "dataplane.GetEnvoyBootstrapParamsRequest": {
        "node_id": (1, "string"),
        "node_name": (2, "string"),
        "service_id": (3, "string"),
        "proxy_id": (6, "string"),
        "partition": (4, "string"),
        "namespace": (5, "string"),
    },
    "dataplane.GetEnvoyBootstrapParamsResponse": {
        "service": (2, "string"),
        "identity": (10, "string"),
        "namespace": (3, "string"),
        "partition": (4, "string"),
        "datacenter": (5, "string"),
        "config": (6, ".google.protobuf.Struct"),
        "node_name": (8, "string"),
        "access_logs": (9, "repeated string"),
    },
    "serverdiscovery.WatchServersRequest": {"wan": (1, "bool")},
    "serverdiscovery.Server": {
        "id": (1, "string"),
        "address": (2, "string"),
        "version": (3, "string"),
    },
    "serverdiscovery.WatchServersResponse": {
        "servers": (1, "repeated .hashicorp.consul.serverdiscovery.Server")
    },
    "acl.LoginRequest": {
        "auth_method": (1, "string"),
        "bearer_token": (2, "string"),
        "meta": (3, "map"),
        "namespace": (4, "string"),
        "partition": (5, "string"),
        "datacenter": (6, "string"),
    },
    "acl.LoginToken": {"accessor_id": (1, "string"), "secret_id": (2, "string")},
    "acl.LoginResponse": {"token": (1, ".hashicorp.consul.acl.LoginToken")},
    "acl.LogoutRequest": {"token": (1, "string"), "datacenter": (2, "string")},
    "acl.LogoutResponse": {},
    # As google.rpc.Status and google.protobuf.Any are on the wire.
    "peerstream.Detail": {"type_url": (1, "string"), "value": (2, "bytes")},
    "peerstream.Status": {
        "details": (3, "repeated .hashicorp.consul.peerstream.Detail")
    },
    "peerstream.LeaderAddress": {"address": (1, "string")},
}
"""Message, below `hashicorp.consul.`, to its fields' numbers and types."""

_PACKAGES = ("dataplane", "serverdiscovery", "acl", "peerstream")


_MESSAGES = Messages(
    [f"{PREFIX}.{package}" for package in _PACKAGES],
    {f"{PREFIX}.{name}": fields for name, fields in _FIELDS.items()},
    struct_pb2.DESCRIPTOR,
)


def _class(path: str) -> Any:
    return _MESSAGES[f"{PREFIX}.{path}"]


BootstrapParamsRequest = _class("dataplane.GetEnvoyBootstrapParamsRequest")
BootstrapParamsResponse = _class("dataplane.GetEnvoyBootstrapParamsResponse")
WatchServersRequest = _class("serverdiscovery.WatchServersRequest")
WatchServersResponse = _class("serverdiscovery.WatchServersResponse")
LoginRequest = _class("acl.LoginRequest")
LoginResponse = _class("acl.LoginResponse")
LogoutRequest = _class("acl.LogoutRequest")
Status = _class("peerstream.Status")
LeaderAddress = _class("peerstream.LeaderAddress")
LogoutResponse = _class("acl.LogoutResponse")
# Not Consul's own: what gRPC's health protocol says, which a proxy in front may speak.
HealthRequest: Any = HealthCheckRequest
HealthResponse: Any = HealthCheckResponse
