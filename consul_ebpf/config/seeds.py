"""Reads an entry of `consul.addresses`; the forms are consul-dataplane's."""

import re
import shlex
from dataclasses import dataclass

from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import Server

EXEC = "exec="


@dataclass(frozen=True, slots=True)
class Name:
    """A DNS name; if it begins with `_`, its SRV records are asked for."""

    name: str
    port: int
    """The gRPC port if the record names none."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that prints addresses, separated by spaces or newlines."""

    argv: tuple[str, ...]
    port: int


Seed = Server | Name | Command


def parse_seed(text: str, grpc_port: int) -> Seed:
    """Read `10.0.0.1`, `10.0.0.1:8502`, `consul.example[:8502]` or `exec=command`.

    Raises:
        ConfigError: it is none of these.
    """
    if text.startswith(EXEC):
        try:
            argv = tuple(shlex.split(text.removeprefix(EXEC)))
        except ValueError as error:
            raise ConfigError(f"{text[:80]!r}: {error}") from None
        if not argv:
            raise ConfigError("exec= without a command: write it like exec=/bin/addrs")
        return Command(argv, grpc_port)
    try:
        return Server.at(*parse_endpoint(text, grpc_port))
    except ValueError:
        return _name(text, grpc_port)


def _name(text: str, grpc_port: int) -> Name:
    name, colon, port = text.partition(":")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
    good = re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})", name)
    # 10.0.0.300 is a mistake, not a name.
    if not good or re.fullmatch(r"[0-9.]+", name) or (colon and not 0 < number < 65536):
        raise ConfigError(
            f"{text[:80]!r} is not an address: write an IP address or a DNS name, each"
            " with or without a port, or exec=command"
        )
    return Name(name, number or grpc_port)
