"""Makes the part that writes down what happens on this host."""

import time
from pathlib import Path

from consul_ebpf.base.events import EventCounter
from consul_ebpf.base.tasks import Work
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.cells import Cells
from consul_ebpf.views.history import History
from consul_ebpf.views.timeline import TimelineFile


def history(config: Config, cells: Cells, counter: EventCounter) -> Work:
    """Return the part, which reads the runner's cells."""
    file = TimelineFile(Path(config.bootstrap.directory))
    part = History(
        file,
        rows=cells.rows,
        looked=cells.looked,
        outcome=cells.outcome,
        events=lambda: counter.counts,
        clock=time.time,
    )
    return part.run
