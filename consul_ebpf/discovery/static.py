"""Servers that somebody wrote down."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from ipaddress import ip_address

from consul_ebpf._errors import ConfigError
from consul_ebpf._values import Server


class StaticSource:
    """A `ServerSource` of the addresses it was given."""

    def __init__(self, addresses: Sequence[str], grpc_port: int = 8502) -> None:
        """Read `ip`, `ip:port`, `[ipv6]` or `[ipv6]:port` each.

        Raises:
            ConfigError: an entry is none of these, or there is none.
        """
        if not addresses:
            raise ConfigError("no server given: set consul.addresses")
        self._servers = tuple(parse_server(text, grpc_port) for text in addresses)

    def __repr__(self) -> str:
        return f"<StaticSource {', '.join(s.endpoint for s in self._servers)}>"

    async def watch(self) -> AsyncGenerator[tuple[Server, ...], None]:
        """Yield the list; nothing ever changes it."""
        yield self._servers
        await asyncio.Event().wait()


def parse_server(text: str, grpc_port: int) -> Server:
    """Read one address; `grpc_port` where it holds no port.

    Raises:
        ConfigError: it is not an IP address with or without a port.
    """
    host, port = text, str(grpc_port)
    if bracketed := re.fullmatch(r"\[(.*)\](?::(.*))?", text):
        host, port = bracketed[1], port if bracketed[2] is None else bracketed[2]
    elif text.count(":") == 1:  # with more it is IPv6
        host, port = text.split(":")
    try:
        address = ip_address(host)
    except ValueError:
        raise ConfigError(
            f"server address {text!r}: must be an IP address with or without a port,"
            " like 10.0.0.1:8502 or [fd00::1]:8502"
        ) from None
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ConfigError(f"server address {text!r}: {port!r} is no port (1..65535)")
    return Server.at(str(address), int(port))
