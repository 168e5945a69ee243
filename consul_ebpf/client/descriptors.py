"""Builds protobuf message classes from a table, in a descriptor pool of their own.

The tables have only the fields that are used, with the standard's numbers. In a pool of
their own they do not collide with another copy of the same protos in this process.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

Fields = Mapping[str, tuple[int, str]]
"""By a field's name: its number, and its type.

A type is one of `string`, `bytes`, `bool`, `int32` (also for an enum), `int64`, `map`
(of strings to strings), or the full name of a message with a dot before it. Each can
have `repeated ` before it, but for `map`.
"""

_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
}


class Messages:
    """The messages of a table.

    Args:
        packages: the packages' full names.
        table: by a message's full name, its fields.
        known: a file of well-known messages that the table names.
    """

    def __init__(
        self,
        packages: Iterable[str],
        table: Mapping[str, Fields],
        known: FileDescriptor,
    ) -> None:
        self._pool = DescriptorPool()
        self._pool.AddSerializedFile(known.serialized_pb)
        for package in packages:
            file = FileDescriptorProto(
                name=f"{package}.proto",
                package=package,
                syntax="proto3",
                dependency=[known.name],
            )
            for path, fields in table.items():
                where, _, name = path.rpartition(".")
                if where == package:
                    message = file.message_type.add(name=name)
                    for field, (number, kind) in fields.items():
                        _add_field(message, field, number, kind)
            self._pool.AddSerializedFile(file.SerializeToString())

    def __getitem__(self, name: str) -> Any:
        """Return the class of a message by its full name; `KeyError`: it is in none."""
        found: type[Message] = GetMessageClass(self._pool.FindMessageTypeByName(name))
        return found


def _add_field(message: DescriptorProto, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    repeated = kind == "map" or kind.startswith("repeated ")
    field.label = (
        FieldDescriptorProto.LABEL_REPEATED
        if repeated
        else FieldDescriptorProto.LABEL_OPTIONAL
    )
    kind = kind.removeprefix("repeated ")
    if kind == "map":  # on the wire a list of pairs
        entry = "".join(word.title() for word in name.split("_"))
        pair = message.nested_type.add(name=f"{entry}Entry")
        pair.options.map_entry = True
        _add_field(pair, "key", 1, "string")
        _add_field(pair, "value", 2, "string")
        kind = pair.name
    scalar = _SCALARS.get(kind)
    field.type = scalar or FieldDescriptorProto.TYPE_MESSAGE
    if scalar is None:
        field.type_name = kind
