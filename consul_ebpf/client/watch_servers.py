"""WatchServers: a server's list of all servers, sent again when it changes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from consul_ebpf.client.channels import ChannelFactory, target_of
from consul_ebpf.client.messages import WatchServersRequest, WatchServersResponse
from consul_ebpf.client.rpc import follow
from consul_ebpf.model.values import Server

METHOD = "/hashicorp.consul.serverdiscovery.ServerDiscoveryService/WatchServers"

MAX_LISTED = 1000
"""Most servers of a list; a cluster has five."""


class Listed(NamedTuple):
    """One server of a list. The list does not tell its gRPC port."""

    id: str
    address: str
    version: str


async def watch_servers(
    channels: ChannelFactory, server: Server, token: str | None
) -> AsyncGenerator[tuple[Listed, ...], None]:
    """Yield the whole list at once and again after each change.

    Raises:
        CallError: the server refused, ended the stream, or sent no list; `code` tells
            which.
        ConsulError: the token cannot be sent in a header.
    """
    channel = channels(target_of(server))
    lists = follow(
        channel,
        METHOD,
        WatchServersRequest(wan=False).SerializeToString(),
        _read,
        who=server.endpoint,
        token=token or "",
    )
    try:
        async with aclosing(lists):
            async for listed in lists:
                yield listed
    finally:
        await channel.close()


def _read(data: bytes) -> tuple[Listed, ...]:
    servers = WatchServersResponse.FromString(data).servers
    if len(servers) > MAX_LISTED:
        raise ValueError(
            f"a list of {len(servers)} servers; more than {MAX_LISTED} are not read"
        )
    return tuple(Listed(each.id, each.address, each.version) for each in servers)
