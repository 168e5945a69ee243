"""`Installed`: the descriptors with which a controller works without privileges."""

import os
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.kernel.tables import Tables, close_tables


@dataclass
class Installed:
    """Descriptors of the tables, the programs and the links, by name."""

    cgroup: Path
    """Where the programs are attached."""
    tables: Tables
    programs: dict[str, int]
    links: dict[str, int]

    def close(self) -> None:
        """Close all descriptors; what is pinned stays."""
        close_tables(self.tables)
        for fd in (*self.programs.values(), *self.links.values()):
            os.close(fd)
        self.programs.clear()
        self.links.clear()
