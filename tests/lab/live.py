"""A server that is alive by the probe's account, without a Consul."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Thread

import grpc


@contextmanager
def live_server(address: str, port: int = 0) -> Iterator[str]:
    """Answer every gRPC call with UNIMPLEMENTED; yield `address:port`."""
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    number = server.add_insecure_port(f"{address}:{port}")
    server.start()
    try:
        yield f"{address}:{number}"
    finally:
        server.stop(None).wait()


@contextmanager
def live_echo(address: str) -> Iterator[str]:
    """Be alive, and give back every byte to whoever does not speak HTTP/2."""
    with live_server(address) as grpc_endpoint, ExitStack() as stack:
        host, _, port = grpc_endpoint.rpartition(":")
        runner = stack.enter_context(
            asyncio.Runner(loop_factory=asyncio.new_event_loop)
        )
        loop = runner.get_loop()

        async def pump(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            try:
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            except OSError:
                pass
            finally:
                writer.close()

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            first = await reader.read(65536)
            if not first.startswith(b"PRI"):
                writer.write(first)
                await pump(reader, writer)
                return
            upstream, downstream = await asyncio.open_connection(host, int(port))
            downstream.write(first)
            await asyncio.gather(pump(reader, downstream), pump(upstream, writer))

        server = loop.run_until_complete(asyncio.start_server(serve, address, 0))
        thread = Thread(target=loop.run_forever)
        thread.start()
        try:
            yield f"{address}:{server.sockets[0].getsockname()[1]}"
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
