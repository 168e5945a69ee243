"""What is kept in a state file, for the controller and for commands that only look."""

import logging
from pathlib import Path
from typing import Generic, TypeVar

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.state_file import JsonFile

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Kept(Generic[T]):
    """A value in a JSON file. Blocking; nothing raises.

    Only the controller writes, and moves a damaged file aside: a command that looks
    changes nothing.
    """

    def __init__(self, path: Path, type_: type[T], *, writes: bool) -> None:
        self._file = JsonFile(path, type_)
        self._writes = writes

    def __repr__(self) -> str:
        return f"<Kept {self._file.path}>"

    def load(self) -> T | None:
        """Return the value, None if there is none that can be used."""
        if self._writes:
            return self._file.load()
        try:
            return self._file.read()
        except (ValueError, RecursionError) as error:
            logger.debug("%s: ignored: %s", self._file.path, reason(error))
            return None

    def save(self, value: T) -> None:
        """Keep the value; a failure is logged, once."""
        if self._writes:
            self._file.save(value)
