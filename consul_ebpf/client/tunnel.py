"""TLS for gRPC by Python's own TLS.

gRPC's own TLS does not do what we need: it knows no Ed25519, reads certificates once,
cannot leave one unverified, demands ALPN of old servers, and says little about why a
handshake failed. So gRPC speaks plaintext to a socket of this process, which leads to
the server through TLS. The socket has no name in the file system, and only this process
may connect to it: the client certificate would work for anybody who did.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import ssl
import struct

from consul_ebpf.base.certificate import refused
from consul_ebpf.base.tls import TlsFiles
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import host_port

CONNECT_SECONDS = 5.0
"""Seconds for the connect and the handshake."""

CHUNK = 64 * 1024


class Tunnel:
    """A socket of this process's own that leads to one server through TLS."""

    def __init__(
        self,
        host: str,
        port: int,
        files: TlsFiles,
        server_name: str,
        named_by: str,
    ) -> None:
        """Make a tunnel; `start` opens it.

        Args:
            host: of the server.
            port: of the server.
            files: asked for a TLS context at each connection.
            server_name: expected in the server's certificate.
            named_by: the configuration keys that decide `server_name`, for errors.
        """
        self._host = host
        self._port = port
        self._files = files
        self._server_name = server_name
        self._named_by = named_by
        self._name = f"consul-ebpf-{os.getpid()}-{secrets.token_hex(8)}"
        self._starting: asyncio.Task[asyncio.Server] | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self.failure = ""
        """Why the newest connection failed; empty: it did not."""

    def __repr__(self) -> str:
        return f"<Tunnel {host_port(self._host, self._port)} {self._server_name}>"

    def start(self) -> str:
        """Begin to listen on the running event loop; return gRPC's target."""
        if self._starting is None:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(f"\0{self._name}")
            listener.listen(16)
            listener.setblocking(False)
            self._starting = asyncio.create_task(
                asyncio.start_unix_server(self._accept, sock=listener),
                name=f"tunnel to {self._host}",
            )
        return f"unix-abstract:{self._name}"

    async def aclose(self) -> None:
        """Stop listening and close what is open."""
        starting, self._starting = self._starting, None
        if starting is not None:
            (await starting).close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # it runs in one
        self._relays.add(task)
        try:
            if _is_ours(writer.get_extra_info("socket")):
                await self._relay(reader, writer)
        except asyncio.CancelledError:
            pass  # asyncio's server would log it
        finally:
            self._relays.discard(task)
            writer.close()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                there = await asyncio.open_connection(
                    self._host,
                    self._port,
                    ssl=self._files.context("h2"),
                    server_hostname=self._server_name,
                )
        except (OSError, TimeoutError, ConfigError) as error:
            self.failure = self._why(error)
            return
        self.failure = ""
        try:
            ways = {
                asyncio.create_task(_copy(reader, there[1])),
                asyncio.create_task(_copy(there[0], writer)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                done = await asyncio.gather(*ways, return_exceptions=True)
            for outcome in done:
                if isinstance(outcome, ssl.SSLError):
                    # TLS 1.3 refuses our certificate only after the handshake.
                    self.failure = self._why(outcome)
        finally:
            there[1].transport.abort()

    def _why(self, error: Exception) -> str:
        where = f"TLS to {host_port(self._host, self._port)}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{where}: {refused(error, self._named_by)}"
        if isinstance(error, ssl.SSLError):
            return f"{where}: {error.reason or error}"
        if isinstance(error, ConfigError):
            return f"{where}: {error}"
        if isinstance(error, TimeoutError):
            return f"{where}: no handshake within {CONNECT_SECONDS:g} s"
        if isinstance(error, OSError) and error.errno:
            return f"{where}: {os.strerror(error.errno)}"
        return f"{where}: {error}"


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(CHUNK):
            to.write(data)
            await to.drain()


def _is_ours(connection: socket.socket) -> bool:
    """Whether the other end belongs to this process."""
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    pid, _, _ = struct.unpack("3i", credentials)
    return bool(pid == os.getpid())
