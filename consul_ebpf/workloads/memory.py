"""What must outlive the controller: who has which VIP, and the last known proxies.

Losing such a file costs stability, never service. So nothing here raises: what
cannot be read is moved aside, what cannot be written is logged, once.
"""

import logging
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from consul_ebpf._errors import ConsulEbpfError
from consul_ebpf._files import write_atomically
from consul_ebpf._values import Vip
from consul_ebpf.workloads.vips import ProxyKey

logger = logging.getLogger(__name__)

T = TypeVar("T")

VIPS_FILE = "vips.json"
"""In the bootstraps' directory."""

MAX_BYTES = 64 * 1024 * 1024
"""Of a file worth reading: 65,536 proxies need about 10 MB."""


class JsonFile(Generic[T]):
    """A value kept in a JSON file, 0600, in a format of a version of its own."""

    VERSION = 1

    def __init__(self, path: Path, type_: type[T]) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(_Envelope[type_])  # type: ignore[valid-type]
        self._saved: T | None = None
        self._failing = False

    def __repr__(self) -> str:
        return f"<JsonFile {self.path}>"

    def read(self) -> T | None:
        """Return the value, None if there is no file.

        Raises:
            ValueError: the file is not ours, damaged, or cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise ValueError("too large")
            envelope = self._decoder.decode(data)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ValueError(error.strerror) from error
        if envelope.version != self.VERSION:
            raise ValueError(f"version {envelope.version}, this one reads 1")
        self._saved = envelope.content
        return envelope.content

    def load(self) -> T | None:
        """Return the value, None if there is none; a bad file becomes `*.bad`."""
        try:
            return self.read()
        except (ValueError, RecursionError) as error:
            self.reject(str(error))
            return None

    def reject(self, why: str) -> None:
        """Move the file aside, to be looked at, and forget it."""
        self._saved = None
        aside = self.path.with_name(f"{self.path.name}.bad")
        logger.warning("%s: ignored, moved to %s: %s", self.path, aside.name, why)
        try:
            self.path.replace(aside)
        except OSError as error:
            logger.warning("%s: cannot be moved: %s", self.path, error.strerror)

    def save(self, value: T) -> None:
        """Write the value unless the file holds it; blocks for a disk's flush."""
        if self._saved == value:
            return
        data = msgspec.json.encode({"version": self.VERSION, "content": value})
        try:
            _make_directory(self.path.parent)
            write_atomically(self.path, msgspec.json.format(data, indent=1) + b"\n")
        except (ConsulEbpfError, OSError) as error:
            if not self._failing:
                logger.warning("%s; a restart will not remember it", error)
            self._failing = True
        else:
            self._saved = value
            self._failing = False


def _make_directory(path: Path) -> None:
    """Make the bootstraps' directory: others get to files whose names they know."""
    if not path.is_dir():
        path.mkdir()
        path.chmod(0o711)  # whatever the umask


class _Envelope(msgspec.Struct, Generic[T]):
    version: int
    content: T


class _VipRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    namespace: str
    partition: str
    vip: str
    port: int
    ipv6: bool


class VipMemory:
    """`vips.json`: the VIPs in use and those released, longest ago first."""

    def __init__(self, directory: Path) -> None:
        """Keep the file in the bootstraps' directory."""
        self._file = JsonFile(directory / VIPS_FILE, list[_VipRecord])

    def __repr__(self) -> str:
        return f"<VipMemory {self._file.path}>"

    def read(self) -> dict[ProxyKey, Vip]:
        """Return what is remembered, touching nothing: for those who only look.

        Raises:
            ConsulEbpfError: the file is damaged or cannot be read.
        """
        try:
            return _from_records(self._file.read() or [])
        except (ValueError, RecursionError) as error:
            raise ConsulEbpfError(f"{self._file.path}: {error}") from error

    def load(self) -> dict[ProxyKey, Vip]:
        """Return what is remembered; a bad file is moved aside, with a log line."""
        records = self._file.load() or []
        try:
            return _from_records(records)
        except ValueError as error:
            self._file.reject(str(error))
            return {}

    def save(self, remembered: Mapping[ProxyKey, Vip]) -> None:
        """Write what `Allocation.remembered` says; a failure is logged, once."""
        self._file.save(
            [
                _VipRecord(*key, str(vip.address), vip.port, vip.ipv6)
                for key, vip in remembered.items()
            ]
        )


def _from_records(records: list[_VipRecord]) -> dict[ProxyKey, Vip]:
    remembered = {
        (r.id, r.namespace, r.partition): Vip(IPv4Address(r.vip), r.port, ipv6=r.ipv6)
        for r in records
    }
    if not len(records) == len(remembered) == len({r.vip for r in records}):
        raise ValueError("a proxy or a VIP is in it twice")
    return remembered
