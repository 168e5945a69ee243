"""A value in a state file, for the controller and for commands that change nothing."""

import logging
from pathlib import Path
from typing import Generic, TypeVar

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.state_file import JsonFile

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Kept(Generic[T]):
    """A value in a JSON file. Blocking; nothing raises.

    Only the controller writes it, and moves a damaged file aside.
    """

    def __init__(self, path: Path, type_: type[T], *, writes: bool) -> None:
        self._file = JsonFile(path, type_)
        self._writes = writes

    def __repr__(self) -> str:
        return f"<Kept {self._file.path}>"

    def load(self) -> T | None:
        """Return the value; None if there is none, or it is damaged."""
        if self._writes:
            return self._file.load()
        try:
            return self._file.read()
        except (ValueError, RecursionError) as error:
            logger.debug("%s: ignored: %s", self._file.path, reason(error))
            return None

    def save(self, value: T) -> None:
        """Write the value; a standing failure is logged once."""
        if self._writes:
            self._file.save(value)
