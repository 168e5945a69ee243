"""A file that somebody else replaces. It is read again when it changes.

Nobody waits for a change: each caller that needs the value asks for it, and the file's
times tell whether to read it again. A bad file leaves the last good value in use.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.events import Event, event
from consul_ebpf.base.reading import PLAIN, FileError, Fingerprint, Reader
from consul_ebpf.model.errors import ConsulEbpfError

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Watched(Generic[T]):
    """The value of one file; if the file is bad now, the last good one. Blocking.

    Args:
        path: of the file.
        decode: makes the value of its bytes; raises `ValueError` with a reason that
            does not quote them, for a file may hold a secret.
        limit: bytes of it that are read at the most.
        what: names the file in messages, such as "token file".
        failed: the event to log when the file cannot be used.
        reader: reads the file.
    """

    def __init__(
        self,
        path: str | Path,
        decode: Callable[[bytes], T],
        *,
        limit: int,
        what: str,
        failed: Event = "files_failed",
        reader: Reader = PLAIN,
    ) -> None:
        self.path = Path(path)
        self._decode = decode
        self._limit = limit
        self._what = what
        self._failed = event(failed)
        self._reader = reader
        self._lock = threading.Lock()
        self._good: list[T] = []  # one, or none yet
        self._seen: Fingerprint | None = None
        self._why = ""

    def __repr__(self) -> str:
        return f"<Watched {self._what} {self.path}>"

    def __call__(self) -> T:
        """Return the newest good value.

        Raises:
            ConsulEbpfError: the file cannot be used, and never could be.
        """
        with self._lock:
            try:
                self._look()
            except ConsulEbpfError as error:
                self._say(str(error))
                if not self._good:
                    raise
            return self._good[0]

    def _look(self) -> None:
        try:
            if self._reader.fingerprint(self.path) == self._seen and not self._why:
                return
            content = self._reader.read(self.path, self._limit)
            value = self._decoded(content.data)
        except FileError as error:
            raise ConsulEbpfError(f"{self._what} {error}") from error
        self._good = [value]
        self._seen, self._why = content.fingerprint, ""

    def _decoded(self, data: bytes) -> T:
        with boundary(ConsulEbpfError, f"{self._what} {self.path}"):
            try:
                return self._decode(data)
            except UnicodeError:
                raise FileError(self.path, "is not text") from None
            except ValueError as error:
                raise FileError(self.path, str(error)) from None

    def _say(self, why: str) -> None:
        """Log once that the last good value is kept; if none is, the caller raises."""
        if self._good and why != self._why:
            logger.warning("%s; keeping the last good one", why, extra=self._failed)
        self._why = why
