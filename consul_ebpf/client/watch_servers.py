"""WatchServers: a server's own list of the servers, each time it changes."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import grpc

from consul_ebpf.client.calls import CallError
from consul_ebpf.client.channels import ChannelFactory, target_of
from consul_ebpf.client.messages import WatchServersRequest, WatchServersResponse
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Server

METHOD = "/hashicorp.consul.serverdiscovery.ServerDiscoveryService/WatchServers"


class Listed(NamedTuple):
    """One server of a list; the gRPC port is not said."""

    id: str
    address: str
    version: str


async def watch_servers(
    channels: ChannelFactory, server: Server, token: str | None
) -> AsyncIterator[tuple[Listed, ...]]:
    """Yield the whole list at once and again after each change.

    Raises:
        CallError: the server refused, or the stream ended; `code` says which way.
        ConsulError: an answer that is none.
    """
    channel = channels(target_of(server))
    metadata = (("x-consul-token", token),) if token else ()
    try:
        stream = channel.unary_stream(METHOD)(
            WatchServersRequest(wan=False).SerializeToString(), metadata=metadata
        )
        async for data in stream:
            answer = WatchServersResponse.FromString(data)
            yield tuple(
                Listed(each.id, each.address, each.version) for each in answer.servers
            )
    except grpc.aio.AioRpcError as error:
        details = " ".join((error.details() or "").split())
        if token:
            details = details.replace(token, "<token>")
        line = f"{server.endpoint}: {error.code().name} {details[:200]}".strip()
        raise CallError(line, error.code().name) from None
    finally:
        await channel.close()
    raise ConsulError(f"{server.endpoint}: the stream of servers ended")
