"""What must outlive the controller, in small files beside the bootstraps.

Losing such a file costs stability, never service. So only `read` raises: a file that
cannot be read is moved aside, and one that cannot be written is logged once.
"""

import hashlib
import logging
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from consul_ebpf.base.events import event
from consul_ebpf.base.files import write_atomically
from consul_ebpf.base.reading import FileError, read_file
from consul_ebpf.model.errors import ConsulEbpfError

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BYTES = 64 * 1024 * 1024
"""Of a file. 65,536 proxies need about 10 MB; a larger file is not ours."""


class JsonFile(Generic[T]):
    """A value kept in a JSON file of mode 0600, with format version and checksum."""

    VERSION = 1

    def __init__(self, path: Path, type_: type[T]) -> None:
        self.path = path
        self._envelope = msgspec.json.Decoder(_Envelope)
        self._decoder = msgspec.json.Decoder(type_)
        self._saved = ""
        """The checksum of what the file holds; empty: not known."""
        self._failing = False

    def __repr__(self) -> str:
        return f"<JsonFile {self.path}>"

    @property
    def aside(self) -> Path:
        """Where a damaged file is moved."""
        return self.path.with_name(f"{self.path.name}.bad")

    def read(self) -> T | None:
        """Return the value, None if there is no file.

        Raises:
            ValueError: the file is not ours, damaged, or cannot be read.
        """
        try:
            content = read_file(self.path, MAX_BYTES)
        except FileError as error:
            if error.missing:
                return None
            raise ValueError(error.why) from error
        envelope = self._envelope.decode(content.data)
        if envelope.version != self.VERSION:
            raise ValueError(f"version {envelope.version}, this one reads 1")
        checksum = _checksum(envelope.content)
        if envelope.checksum not in {"", checksum}:
            raise ValueError("its checksum is wrong")
        value = self._decoder.decode(envelope.content)
        self._saved = checksum
        return value

    def load(self) -> T | None:
        """Return the value, None if there is none; a damaged file becomes `*.bad`."""
        try:
            return self.read()
        except (ValueError, RecursionError) as error:
            self.reject(str(error))
            return None

    def reject(self, why: str) -> None:
        """Move the file aside, where people can look at it, and go on without it."""
        self._saved = ""
        logger.warning(
            "%s: ignored, moved to %s: %s",
            self.path,
            self.aside.name,
            why,
            extra=event("state_ignored"),
        )
        try:
            self.path.replace(self.aside)
        except OSError as error:
            logger.warning(
                "%s: cannot be moved: %s",
                self.path,
                error.strerror,
                extra=event("files_failed"),
            )

    def save(self, value: T) -> bool:
        """Write the value unless the file holds it already. Blocks until it is on disk.

        Returns:
            Whether the file holds the value now. The first of several failures in a row
            is logged.
        """
        content = msgspec.Raw(msgspec.json.encode(value))
        checksum = _checksum(content)
        if checksum == self._saved:
            return True
        data = msgspec.json.encode(_Envelope(self.VERSION, content, checksum))
        data = msgspec.json.format(data, indent=1) + b"\n"
        try:
            _check_size(self.path, data)
            _make_directory(self.path.parent)
            write_atomically(self.path, data)
        except (ConsulEbpfError, OSError) as error:
            if not self._failing:
                logger.warning(
                    "%s; a restart will not remember it",
                    error,
                    extra=event("files_failed"),
                )
            self._failing = True
            return False
        self._saved = checksum
        self._failing = False
        return True


def _check_size(path: Path, data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise ConsulEbpfError(
            f"cannot write {str(path)!r}: more than {MAX_BYTES} bytes"
        )


def _make_directory(path: Path) -> None:
    """Make the bootstraps' directory: others can reach files by name, but not list."""
    if not path.is_dir():
        path.mkdir()
        path.chmod(0o711)  # whatever the umask


class _Envelope(msgspec.Struct):
    version: int
    content: msgspec.Raw
    checksum: str = ""
    """Files of the first version have none."""


def _checksum(content: msgspec.Raw) -> str:
    """Return the content's checksum; line breaks and indentation do not count."""
    return hashlib.sha256(msgspec.json.format(bytes(content), indent=-1)).hexdigest()
