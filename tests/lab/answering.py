"""A gRPC server that answers what it is told to, garbage too."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from consul_ebpf.client import watch_servers
from consul_ebpf.client.messages import WatchServersResponse
from consul_ebpf.model.values import Server

Unary = Callable[[Any], Awaitable[bytes]]


class _Answers(grpc.GenericRpcHandler):  # type: ignore[misc] # untyped
    def __init__(self, unary: Unary, lists: Sequence[bytes], hold: float) -> None:
        self.unary = unary
        self.lists = lists
        self.hold = hold

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if details.method == watch_servers.METHOD:

            async def stream(_: bytes, __: Any) -> AsyncIterator[bytes]:
                for each in self.lists:
                    yield each
                await asyncio.sleep(self.hold)

            return grpc.unary_stream_rpc_method_handler(stream)

        async def call(_: bytes, context: Any) -> bytes:
            return await self.unary(context)

        return grpc.unary_unary_rpc_method_handler(call)


@asynccontextmanager
async def serving(
    answer: bytes | Unary = b"", lists: Sequence[bytes] = (), *, hold: float = 60
) -> AsyncIterator[Server]:
    """Answer every unary call so, and WatchServers with these lists, on loopback.

    `hold` is how long the stream of lists stays open after the last one.
    """

    async def says(_: Any) -> bytes:
        assert isinstance(answer, bytes)
        return answer

    server = grpc.aio.server()
    unary = says if isinstance(answer, bytes) else answer
    server.add_generic_rpc_handlers([_Answers(unary, lists, hold)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Server.at("127.0.0.1", port)
    finally:
        await server.stop(None)


def list_of(*servers: tuple[str, str]) -> bytes:
    """Return a list of (id, address) as a server sends it."""
    message = WatchServersResponse()
    for id_, address in servers:
        message.servers.add(id=id_, address=address)
    data: bytes = message.SerializeToString()
    return data
