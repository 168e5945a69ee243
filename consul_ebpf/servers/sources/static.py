"""Servers by their addresses in the configuration."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import Server


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
        """Yield the list once: it never changes."""
        yield self._servers
        await asyncio.Event().wait()


def parse_server(text: str, grpc_port: int) -> Server:
    """Read one address; `grpc_port` is used if it has no port.

    Raises:
        ConfigError: it is not an IP address with or without a port.
    """
    try:
        return Server.at(*parse_endpoint(text, grpc_port))
    except ValueError as error:
        raise ConfigError(
            f"server address {text!r}: {error}; write an IP address with or without a"
            " port, like 10.0.0.1:8502 or [fd00::1]:8502"
        ) from None
