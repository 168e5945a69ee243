"""`ClosedFiles`: reads files that the controller may not read, through the helper.

The controller has given up its privileges, so it may not be able to read a token's
file, such as a workload's own JWT. It then asks the helper. This is the same for a path
in the configuration, in a drop-in and in a registration. Both processes follow the
rules of `base.reading`.
"""

import base64
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from consul_ebpf.base.reading import (
    Content,
    FileError,
    Fingerprint,
    fingerprint,
    read_file,
)
from consul_ebpf.model.errors import KernelError

SECONDS = 5.0
"""How long the helper may take for one file."""

LOOK_SECONDS = 10.0
"""How often a file in a closed directory is looked at: each look costs a process."""

NEEDED = "CAP_DAC_READ_SEARCH, or leave the file to the controller's user"
"""What to grant if the helper may not read a file either."""

MAX_SEEN = 4096
"""Files whose last fingerprint is remembered."""


class Asks(Protocol):
    """The part of `Helper` that is needed here."""

    def ask(self, name: str, *arguments: Any, seconds: float) -> dict[str, Any]:
        """Ask for one of the helper's requests."""
        ...


class ClosedFiles:
    """A `Reader` that reads files itself, and asks the helper for those it may not.

    Safe for several threads.
    """

    def __init__(self, helper: Asks) -> None:
        """Ask this helper."""
        self._helper = helper
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, Fingerprint]] = {}

    def __repr__(self) -> str:
        return f"<ClosedFiles by {self._helper!r}>"

    def fingerprint(self, path: str | Path) -> Fingerprint:
        """Return a file's fingerprint; in a closed directory, from the last look.

        Raises:
            FileError: the file cannot be looked at.
        """
        try:
            return fingerprint(path)
        except FileError as error:
            if not error.denied:
                raise
        now = time.monotonic()
        with self._lock:
            looked, seen = self._seen.get(str(path), (float("-inf"), ()))
        if now - looked < LOOK_SECONDS:
            return seen
        return self._note(path, tuple(self._ask("fingerprint", path)["fingerprint"]))

    def read(self, path: str | Path, limit: int) -> Content:
        """Read a file; see `read_file`."""
        try:
            return read_file(path, limit)
        except FileError as error:
            if not error.denied:
                raise
        answer = self._ask("read", path, limit)
        seen = self._note(path, tuple(answer["fingerprint"]))
        return Content(base64.b64decode(answer["data"]), seen)

    def _note(self, path: str | Path, seen: Fingerprint) -> Fingerprint:
        with self._lock:
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen[str(path)] = (time.monotonic(), seen)
        return seen

    def _ask(self, name: str, path: str | Path, *more: int) -> dict[str, Any]:
        try:
            answer = self._helper.ask(name, str(path), *more, seconds=SECONDS)
        except KernelError as error:
            raise FileError(path, str(error)) from error
        if "errno" in answer:
            raise FileError(path, answer["message"] or "cannot be read")
        found: dict[str, Any] = answer["answer"]
        if "why" in found:
            lacks = f": grant {NEEDED}" if found["denied"] else ""
            raise FileError(path, found["why"] + lacks, missing=found["missing"])
        return found
