"""What processes take of a host's memory, and how many threads they have."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.lab.processes import pss_of

MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ ([0-9a-f]+) \S+ (\d+) *(.*)$")


@dataclass(frozen=True)
class Memory:
    """What some processes take together, in MB.

    `pss` is by the kernel's account, which divides a shared page among all that map it,
    other programs too. `alone` is what they would take if nobody else mapped any of it.
    """

    processes: int
    threads: int
    pss: float
    alone: float


def memory_of(pids: Iterable[int]) -> Memory:
    """Measure processes that run."""
    all_of = list(pids)
    threads = sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in all_of)
    pss = sum(pss_of(pid) for pid in all_of)
    maps = [Path(f"/proc/{pid}/smaps").read_text() for pid in all_of]
    return Memory(len(all_of), threads, pss, alone_kilobytes(maps) / 1024)


def alone_kilobytes(maps: Iterable[str]) -> float:
    """Add up what processes take if nobody shares with them, by their /proc/PID/smaps.

    Of a file's pages that several map, those of whoever has most of them count once.
    """
    own = 0.0
    files: dict[tuple[str, str, str], float] = defaultdict(float)
    for text in maps:
        for mapping, sizes in _mappings(text):
            offset, inode, path = mapping
            if inode == "0":
                own += sizes["Pss"]
            else:
                own += sizes["Anonymous"]
                shared = sizes["Rss"] - sizes["Anonymous"]
                files[offset, inode, path] = max(files[offset, inode, path], shared)
    return own + sum(files.values())


def _mappings(text: str) -> Iterable[tuple[tuple[str, str, str], dict[str, float]]]:
    mapping, sizes = None, dict[str, float]()
    for line in text.splitlines():
        if begun := MAPPING.match(line):
            if mapping:
                yield mapping, sizes
            mapping, sizes = (begun[1], begun[2], begun[3]), {}
        else:
            name, _, rest = line.partition(":")
            if rest.endswith("kB"):
                sizes[name] = float(rest.split()[0])
    if mapping:
        yield mapping, sizes
