"""The protobuf messages of the calls to Consul.

They are built from the table below, not generated: it has only the fields that are
used, with Consul's numbers. They are in a descriptor pool of their own, so that another
copy of Consul's protos can be loaded in the same process.
"""

from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
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


def _add_field(message: DescriptorProto, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    repeated = kind == "map" or kind.startswith("repeated ")
    field.label = (
        FieldDescriptorProto.LABEL_REPEATED
        if repeated
        else FieldDescriptorProto.LABEL_OPTIONAL
    )
    kind = kind.removeprefix("repeated ")
    if kind == "map":  # of strings; on the wire a list of pairs
        pair = message.nested_type.add(name=f"{name.title()}Entry")
        pair.options.map_entry = True
        _add_field(pair, "key", 1, "string")
        _add_field(pair, "value", 2, "string")
        kind = f"{pair.name}"
    if kind == "string":
        field.type = FieldDescriptorProto.TYPE_STRING
    elif kind == "bytes":
        field.type = FieldDescriptorProto.TYPE_BYTES
    elif kind == "bool":
        field.type = FieldDescriptorProto.TYPE_BOOL
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = kind


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    for package in _PACKAGES:
        file = FileDescriptorProto(
            name=f"{package}.proto",
            package=f"hashicorp.consul.{package}",
            syntax="proto3",
            dependency=["google/protobuf/struct.proto"],
        )
        for path, fields in _FIELDS.items():
            where, _, name = path.partition(".")
            if where == package:
                message = file.message_type.add(name=name)
                for field, (number, kind) in fields.items():
                    _add_field(message, field, number, kind)
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def _class(path: str) -> Any:
    descriptor = _POOL.FindMessageTypeByName(f"hashicorp.consul.{path}")
    found: type[Message] = GetMessageClass(descriptor)
    return found


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
