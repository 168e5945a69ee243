"""Keeps the DNS program's table of the cgroups whose processes may ask the VIP."""

import logging
from collections.abc import Sequence
from pathlib import Path

from consul_ebpf.base.events import event
from consul_ebpf.kernel import codec, host
from consul_ebpf.kernel.maps import Map
from consul_ebpf.kernel.tables import slot_key
from consul_ebpf.model.errors import CgroupError, ConfigError

logger = logging.getLogger(__name__)

_NONE = bytes(codec.CGROUP.size)


class Askers:
    """Follows directories of cgroups: one may go, and come back with another id."""

    def __init__(self, table: Map, directories: Sequence[str]) -> None:
        """Keep this table, which the program uses; nothing is written before `update`.

        Raises:
            ConfigError: there are more directories than rows.
        """
        if len(directories) > codec.MAX_CGROUPS:
            raise ConfigError(
                f"dns.cgroups names {len(directories)} cgroups, and "
                f"{codec.MAX_CGROUPS} fit: name one above some of them"
            )
        self._table = table
        self._directories = directories
        self._missing: set[str] = set()

    def __repr__(self) -> str:
        return f"<Askers {self._directories}>"

    def update(self) -> None:
        """Look at each directory, and write the rows that have changed."""
        for number in range(codec.MAX_CGROUPS):
            row, key = self._row(number), slot_key(number)
            if self._table.lookup(key) != row:
                self._table.update(key, row)

    def _row(self, number: int) -> bytes:
        if number >= len(self._directories):
            return _NONE
        directory = self._directories[number]
        try:
            path = Path(directory).resolve(strict=True)
            row = codec.CGROUP.pack(path.stat().st_ino, host.cgroup_level(path))
        except (OSError, CgroupError) as error:
            if directory not in self._missing:
                logger.warning(
                    "dns.cgroups: %s is no cgroup now: no process in it can ask (%s)",
                    directory,
                    error,
                    extra=event("asker_missing"),
                )
            self._missing.add(directory)
            return _NONE
        self._missing.discard(directory)
        return row
