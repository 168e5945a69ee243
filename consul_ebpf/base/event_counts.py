"""How often each event happened, on disk: `status` needs no controller to show it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from consul_ebpf.base.events import EventCounter
from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.base.threads import finish

SAVE_SECONDS = 2.0
"""From one look whether the counts are others to the next."""

EVENTS_FILE = "events.json"
"""In the bootstraps' directory."""


class EventCounts:
    """`events.json`: how often each event happened since the controller started."""

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

    async def follow(self, counter: EventCounter) -> None:
        """Write the counts as they change, until cancelled."""
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await finish(lambda: self.save(counter.counts))

    def save(self, counts: Mapping[str, int]) -> None:
        """Write the counts if they changed; a standing failure is logged once."""
        self._file.save(dict(counts))
