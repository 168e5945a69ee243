"""The TLS contexts that the webhook serves with, by whoever keeps its certificate.

A part fills the cell `context`; a listener made by `following` takes each connection
with the newest one, so nothing is started again.
"""

import asyncio
import ssl
from typing import Protocol

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tls import TlsFiles, TlsMaterial, load_chain

FILES_SECONDS = 5.0
"""From one look at the files to the next."""


class Certificates(Protocol):
    """A part that keeps the webhook's certificate."""

    @property
    def context(self) -> Latest[ssl.SSLContext]:
        """The server's TLS context with the newest certificate; empty at first."""
        ...

    async def run(self) -> None:
        """Fill `context`, for ever."""
        ...


def following(newest: Latest[ssl.SSLContext]) -> ssl.SSLContext:
    """Return a listener's context: each connection is made with the cell's newest."""

    def pick(
        connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext
    ) -> int | None:
        if newest.value is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = newest.value
        return None

    context = server_context()
    context.sni_callback = pick  # called without SNI, too
    return context


class CertificateFiles:
    """A certificate and its key in files that somebody else replaces: cert-manager.

    Args:
        cert: PEM file of the certificate, with those between it and the CA.
        key: PEM file of its private key.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._files = TlsFiles(cert=cert, key=key)
        self._served: TlsMaterial | None = None
        self.context: Latest[ssl.SSLContext] = Latest()

    def __repr__(self) -> str:
        return f"<CertificateFiles {self._files!r}>"

    async def run(self) -> None:
        """Fill `context` whenever the files change, for ever.

        Raises:
            ConfigError: they cannot be used, and never could be.
        """
        while True:
            material = await asyncio.to_thread(self._files.material)
            if material != self._served:
                context = server_context()
                load_chain(context, material, "of the webhook")
                self.context.set(context)
                self._served = material
            await asyncio.sleep(FILES_SECONDS)


def server_context() -> ssl.SSLContext:
    """Return a context of a server without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
