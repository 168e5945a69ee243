"""What the controller met, kept where `status` finds it, also when it is dead."""

from collections.abc import Mapping
from pathlib import Path

from consul_ebpf.base.state_file import JsonFile

EVENTS_FILE = "events.json"
"""In the bootstraps' directory."""


class EventCounts:
    """`events.json`: how often each event happened since the newest start."""

    def __init__(self, directory: Path) -> None:
        """Keep the file in the bootstraps' directory."""
        self._file = JsonFile(directory / EVENTS_FILE, dict[str, int])

    def __repr__(self) -> str:
        return f"<EventCounts {self._file.path}>"

    def read(self) -> dict[str, int]:
        """Return the counts; none if there is no file, or a damaged one."""
        try:
            return self._file.read() or {}
        except (ValueError, RecursionError):
            return {}

    def save(self, counts: Mapping[str, int]) -> None:
        """Write the counts, if they are others; a failure is logged, once."""
        self._file.save(dict(counts))
