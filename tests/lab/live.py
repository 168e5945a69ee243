"""Servers of a test's own: alive by the probe's account, echoing, or in between."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread

import grpc

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


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

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first = await reader.read(65536)
        if first.startswith(b"PRI"):
            await _connect_through(grpc_endpoint, first, reader, writer)
        else:
            writer.write(first)
            await _pump(reader, writer)

    with live_server(address) as grpc_endpoint, _serving(handle, address, 0) as port:
        yield f"{address}:{port}"


@contextmanager
def forwarder(address: str, port: int, to: str, delay: float = 0.0) -> Iterator[None]:
    """Pass connections on to `address:port`, each answer `delay` seconds late."""

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await _connect_through(to, b"", reader, writer, delay)

    with _serving(handle, address, port):
        yield


@contextmanager
def balancer(targets: Sequence[str]) -> Iterator[int]:
    """Pass each connection on to the first of `targets` that takes it; yield a port."""

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for to in targets:
            host, _, port = to.rpartition(":")
            try:
                socket.create_connection((host, int(port)), 0.5).close()
            except OSError:
                continue
            await _connect_through(to, b"", reader, writer)
            return
        writer.close()

    with _serving(handle, "127.0.0.1", 0) as port:
        yield port


@contextmanager
def _serving(handle: Handler, address: str, port: int) -> Iterator[int]:
    """Serve in a thread; at the end all connections are closed."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(handle, address, port))
    thread = Thread(target=loop.run_forever)
    thread.start()

    async def close() -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _connect_through(
    to: str,
    first: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    delay: float = 0.0,
) -> None:
    host, _, port = to.rpartition(":")
    try:
        upstream, downstream = await asyncio.open_connection(host, int(port))
    except OSError:
        writer.close()
        return
    downstream.write(first)
    await asyncio.gather(_pump(reader, downstream), _pump(upstream, writer, delay))


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float = 0.0
) -> None:
    try:
        while data := await reader.read(65536):
            await asyncio.sleep(delay)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
