"""The configured TLS files, read again whenever they change.

Each new connection asks for a context, so a change of the files is used by the next
connection. When the files cannot be used (a rotation half done, a truncated CA file, a
certificate without its key), all the last good ones stay in use: they belong together.
"""

import logging
import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from consul_ebpf.base import authorities
from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.events import event
from consul_ebpf.base.pem import certificates, no_certificate, private_key
from consul_ebpf.base.reading import FileError, Fingerprint, fingerprint, read_file
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError

logger = logging.getLogger(__name__)

MAX_FILE = 1024 * 1024
"""Bytes of a client certificate's file, or of its key's."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What the files hold, as PEM: certificates and the key, and nothing else."""

    ca: str = ""
    """Certificates to trust; empty: those of the system."""
    cert: str = ""
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Good:
    """The newest files that can be used."""

    material: TlsMaterial
    seen: tuple[object, ...]
    authorities: authorities.Authorities | None


class TlsFiles:
    """CA certificates, and a client certificate with its key.

    Args:
        ca_certs: PEM file, or a directory of them; empty: the system's.
        cert: client certificate, PEM; empty: none.
        key: its key, PEM; may be in `cert`'s file, and is then empty.
        verify: False takes any certificate from anybody.
    """

    def __init__(
        self, *, ca_certs: str = "", cert: str = "", key: str = "", verify: bool = True
    ) -> None:
        self._ca_certs = ca_certs
        self._cert = cert
        self._key = key or cert
        self._verify = verify
        self._lock = threading.Lock()
        self._good: _Good | None = None
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        self._failing = ""

    def __repr__(self) -> str:
        return f"<TlsFiles {self._ca_certs or 'system roots'} {self._cert}>"

    @property
    def verify(self) -> bool:
        """Whether certificates are verified."""
        return self._verify

    def material(self) -> TlsMaterial:
        """Return what the files hold; if they are bad now, what they held before.

        Raises:
            ConfigError: they cannot be used, and never could be.
        """
        with self._lock:
            return self._current().material

    def context(self, *alpn: str) -> ssl.SSLContext:
        """Return a client's context from the files as they are now.

        `alpn` are the protocols to offer; none: the extension is left out.

        Raises:
            ConfigError: the files cannot be used, and never could be.
        """
        with self._lock:
            good = self._current()
            context = self._contexts.get(alpn)
            if context is None:
                context = self._contexts[alpn] = self._context(good.material)
                if alpn:
                    context.set_alpn_protocols(alpn)
        return context

    def _current(self) -> _Good:
        good = self._good
        try:
            with boundary(ConfigError, repr(self)):
                if good is None or self._failing or self._look() != good.seen:
                    self._take(self._load())
        except ConsulEbpfError as error:
            why = str(error)
            if good is None:
                raise ConfigError(why) from None
            if why != self._failing:
                logger.warning(
                    "%s; keeping the last good ones", why, extra=event("tls_failed")
                )
            self._failing = why
            return good
        self._failing = ""
        assert self._good is not None  # noqa: S101  # taken
        return self._good

    def _take(self, new: _Good) -> None:
        old, self._good = self._good, new
        skipped = new.authorities.skipped if new.authorities else ()
        before = old.authorities.skipped if old and old.authorities else ()
        for line in skipped:
            if line not in before:
                logger.info("CA certificates: left out %s", line)
        if old is None or old.material != new.material:
            self._contexts.clear()
            if old is not None:
                logger.info("%r: changed, read again", self)

    def _look(self) -> tuple[object, ...] | None:
        """Return what changes when a file does; None: reading tells what is wrong."""
        paths = (self._cert, self._key) if self._cert else ()
        try:
            ca = authorities.look(self._ca_certs) if self._ca_certs else ()
            return (ca, *(fingerprint(path) for path in paths))
        except FileError:
            return None

    def _load(self) -> _Good:
        ca = None
        if self._ca_certs:
            old = self._good.authorities if self._good else None
            try:
                ca = authorities.read(self._ca_certs, old.gave if old else frozenset())
            except FileError as error:
                raise ConfigError(f"CA certificates in {error}") from None
        cert, cert_seen = self._pem(self._cert, _chain)
        key, key_seen = self._pem(self._key, private_key) if self._cert else ("", ())
        material = TlsMaterial(ca.pem if ca else "", cert, key)
        self._context(material)  # refuses what cannot be used
        seen = (ca.seen if ca else (), *cert_seen, *key_seen)
        return _Good(material, seen, ca)

    @staticmethod
    def _pem(
        path: str, decode: Callable[[bytes], str]
    ) -> tuple[str, tuple[Fingerprint, ...]]:
        if not path:
            return "", ()
        try:
            content = read_file(path, MAX_FILE)
            return decode(content.data), (content.fingerprint,)
        except FileError as error:
            raise ConfigError(f"TLS file {error}") from None
        except ValueError as error:
            raise ConfigError(f"TLS file {path}: {error}") from None

    def _context(self, material: TlsMaterial) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # As Go and Envoy do: a trusted certificate ends the chain even if it is not a
        # root, and only the certificate's alternative names count, not its subject.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.hostname_checks_common_name = False
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif not self._ca_certs:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if material.ca:
            try:
                context.load_verify_locations(cadata=material.ca)
            except (ssl.SSLError, ValueError):
                raise ConfigError(
                    f"CA certificates in {self._ca_certs}: one is damaged"
                ) from None
        if material.cert:
            load_chain(context, material, f"{self._cert} with key {self._key}")
        return context


def _chain(data: bytes) -> str:
    found = certificates(data)
    if not found:
        raise ValueError(no_certificate(data))
    return "".join(found)


def load_chain(context: ssl.SSLContext, material: TlsMaterial, named: str) -> None:
    """Load what was read, by a file in memory: ssl takes paths, and files change.

    Raises:
        ConfigError: it is no certificate with its key; `named` says whose.
    """
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, f"{material.cert}\n{material.key}".encode())
        # A key with a passphrase must not ask for it on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
    except ssl.SSLError as error:
        why = error.reason or "not a certificate with its key"
        raise ConfigError(f"certificate {named}: {why}") from None
    finally:
        os.close(descriptor)
