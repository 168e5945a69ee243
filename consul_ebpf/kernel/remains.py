"""What an earlier process left of a program: pinned tables, links, what is attached."""

import logging
import os
from dataclasses import dataclass

from consul_ebpf.base.events import event
from consul_ebpf.kernel import objects
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import Program
from consul_ebpf.kernel.tables import (
    Tables,
    close_tables,
    fit_program,
    open_tables,
    tables_of,
)

logger = logging.getLogger(__name__)


@dataclass
class Remains:
    """What there is, opened."""

    tables: Tables | None
    """The pinned tables."""
    usable: bool
    """The pinned tables are of our layout and size, in our directory."""
    damaged: bool
    """Something is pinned in their place that is no table of ours."""
    live: Tables | None
    """The tables that the attached program uses."""
    links: dict[str, int]

    def close(self) -> None:
        """Close all that is still here."""
        for tables in (self.tables, self.live):
            close_tables(tables or {})
        for fd in self.links.values():
            os.close(fd)
        self.links.clear()

    @property
    def source(self) -> Tables | None:
        """The tables to copy rows from: those in use, else those pinned."""
        return self.live or self.tables

    @property
    def switched(self) -> bool:
        """Whether the attached program uses the pinned tables; True if unknown."""
        if self.live is None or self.tables is None:
            return True
        both = self.live.keys() & self.tables.keys()
        return all(self.live[n].info.id == self.tables[n].info.id for n in both)


def look_for_remains(pins: Pins) -> Remains:
    """Open what is pinned, and the tables of what is attached; the caller closes it."""
    program, directory = pins.program, pins.found()
    left = Remains(None, usable=False, damaged=False, live=None, links={})
    if directory is None:
        return left
    left.links = pins.open_links(directory)
    try:
        left.tables = open_tables(program, directory)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        left.damaged = True
        logger.warning(
            "%s: %s; new tables are made, and the old directory is moved to %s",
            directory,
            error,
            pins.aside,
            extra=event("state_ignored"),
        )
    if left.tables is not None:
        left.usable = directory == pins.current and fit_program(program, left.tables)
    left.live = _live(program, left.links)
    return left


def _live(program: Program, links: dict[str, int]) -> Tables | None:
    """Open the tables that the attached program uses; None if that is impossible."""
    for link in links.values():
        try:
            loaded = objects.program_fd(objects.link_info(link).program_id)
        except OSError:
            continue
        try:
            if tables := tables_of(program, loaded):
                return tables
        finally:
            os.close(loaded)
    return None
