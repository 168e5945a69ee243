"""The configured TLS files, read again whenever they change.

Each new connection asks for a context; a change of the files is in the next one. Files
that cannot be used (half of a rotation, a certificate without its key) leave the last
good ones in use.
"""

import logging
import os
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path

from consul_ebpf.base.events import event
from consul_ebpf.model.errors import ConfigError

logger = logging.getLogger(__name__)

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What the files hold, as PEM."""

    ca: str = ""
    """Certificates to trust; empty: the system's."""
    cert: str = ""
    key: str = field(default="", repr=False)


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
        self._seen: Signature | None = None
        self._good: TlsMaterial | None = None
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        self._failing = ""

    def __repr__(self) -> str:
        return f"<TlsFiles {self._ca_certs or 'system roots'} {self._cert}>"

    @property
    def verify(self) -> bool:
        """Whether certificates are verified."""
        return self._verify

    def material(self) -> TlsMaterial:
        """Return what the files hold now.

        Raises:
            ConfigError: they cannot be used, now or ever before.
        """
        return self._current()

    def context(self, *alpn: str) -> ssl.SSLContext:
        """Return a client's context from the files as they are now.

        `alpn` are the protocols to offer; none: the extension is left out.

        Raises:
            ConfigError: they cannot be used, now or ever before.
        """
        material = self._current()
        with self._lock:
            context = self._contexts.get(alpn)
            if context is None:
                context = self._contexts[alpn] = self._context(material)
                if alpn:
                    context.set_alpn_protocols(alpn)
        return context

    def _current(self) -> TlsMaterial:
        with self._lock:
            try:
                seen = self._signature()
                if self._good is None or seen != self._seen:
                    self._good = self._load()
                    self._contexts.clear()
                    if self._seen is not None:
                        logger.info("%r: changed, read again", self)
                    self._seen = seen
                self._failing = ""
            except (OSError, ValueError) as error:
                why = _why(error)
                if self._good is None:
                    raise ConfigError(why) from None
                if why != self._failing:
                    logger.warning(
                        "%s; keeping the last good ones", why, extra=event("tls_failed")
                    )
                self._failing = why
            return self._good

    def _paths(self) -> list[Path]:
        paths = ca_files(self._ca_certs) if self._ca_certs else []
        return paths + [Path(path) for path in (self._cert, self._key) if path]

    def _signature(self) -> Signature:
        found = []
        for path in self._paths():
            status = path.stat()
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)

    def _load(self) -> TlsMaterial:
        ca = ""
        if self._ca_certs:
            ca = "\n".join(_read(path).strip() for path in ca_files(self._ca_certs))
        material = TlsMaterial(
            ca=ca + "\n" if ca else "",
            cert=_read(Path(self._cert)) if self._cert else "",
            key=_read(Path(self._key)) if self._cert else "",
        )
        self._context(material)  # refuses what cannot be used
        return material

    def _context(self, material: TlsMaterial) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif material.ca:
            try:
                context.load_verify_locations(cadata=material.ca)
            except ssl.SSLError:
                raise ValueError(
                    f"CA certificates in {self._ca_certs}: not PEM certificates"
                ) from None
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if material.cert:
            _load_chain(context, material, f"{self._cert} with key {self._key}")
        return context


def ca_files(ca_certs: str) -> list[Path]:
    """Return the files meant by a file's or a directory's path, in a fixed order.

    Raises:
        OSError: it cannot be read.
        ValueError: it is a directory without a certificate.
    """
    path = Path(ca_certs)
    if not path.is_dir():
        return [path]
    # Kubernetes' mounts have links to files in ..data, and directories beside them.
    files = [each for each in sorted(path.iterdir()) if each.is_file()]
    found = [each for each in files if each.suffix in {".pem", ".crt", ".cer", ".cert"}]
    if not found:
        raise ValueError(f"{path}: no *.pem, *.crt, *.cer or *.cert file in it")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not PEM") from None


def _load_chain(context: ssl.SSLContext, material: TlsMaterial, named: str) -> None:
    """Load exactly what was read: ssl takes paths only, and files may change."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, f"{material.cert}\n{material.key}".encode())
        # A key with a passphrase must not ask for it on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
    except ssl.SSLError as error:
        why = error.reason or "not a PEM certificate with its key"
        raise ValueError(f"certificate {named}: {why}") from None
    finally:
        os.close(descriptor)


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"TLS file {error.filename}: {error.strerror}"
    return str(error)
