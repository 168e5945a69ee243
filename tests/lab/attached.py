"""A program of the tests' own, attached in a cgroup; and what one of ours costs."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from consul_ebpf.kernel import libbpf, objects
from consul_ebpf.kernel.links import attach
from consul_ebpf.kernel.loader import load_program
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import DNS, Program
from consul_ebpf.kernel.tables import Tables, close_tables, make_tables
from tests.lab.scratch import scratch_directory

STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
EMPTY = replace(DNS, source=Path(__file__).with_name("empty.c"))
"""A program that does nothing, at every hook of ours."""


@contextmanager
def attached(
    program: Program, cgroup: Path, bpffs: Path, **defines: int
) -> Iterator[Tables]:
    """Load and attach a program, for as long as the bpffs lasts; its tables are empty.

    Its source may include bpf/tables.h.
    """
    with scratch_directory() as directory:
        source = directory / program.source.name
        shutil.copy(program.source, source)
        shutil.copy(DNS.source.with_name("tables.h"), directory)
        shutil.copytree(DNS.source.with_name("stub"), directory / "stub")
        pins = Pins(bpffs, program)
        pins.current.mkdir(parents=True)
        tables = make_tables(program, pins.current)
        try:
            loadable = replace(program, source=source)
            load_program(loadable, {"MAX_VIPS": 1, **defines}, pins.current, bpffs)
            for hook, kind in program.hooks.items():
                link = attach(libbpf.obj_get(bpffs / hook), hook, kind, cgroup)
                libbpf.obj_pin(link, pins.current / hook)
                os.close(link)
            yield tables
        finally:
            close_tables(tables)


@contextmanager
def counted_runs() -> Iterator[None]:
    """Have the kernel count runs and their time, which makes each take longer."""
    before = STATS.read_text()
    STATS.write_text("1")
    try:
        yield
    finally:
        STATS.write_text(before)


@dataclass(frozen=True)
class Runs:
    """What the kernel has counted of a program so far."""

    count: int
    ns: int

    @classmethod
    def of(cls, bpffs: Path, program: Program, hook: str) -> Self:
        """Ask for those of the program attached at a hook."""
        link = Pins(bpffs, program).links()[hook]
        fd = objects.program_fd(link.program_id)
        try:
            info = objects.program_info(fd)
        finally:
            os.close(fd)
        return cls(info.runs, info.run_time_ns)

    def mean_since(self, before: Self) -> float:
        """Return how long the runs since then took on average, in ns."""
        return (self.ns - before.ns) / (self.count - before.count)
