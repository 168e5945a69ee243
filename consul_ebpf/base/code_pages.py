"""Gives back the memory of code that only the start needed.

A process counts each page of a library's code that it has ever run, and the kernel maps
those beside it as well. Most of that ran once, while modules were imported.
"""

import contextlib
import ctypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_MADV_DONTNEED = 4  # mman.h
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \S+ +/")


def give_back() -> None:
    """Unmap all pages of code; what runs again comes back from the page cache.

    Takes milliseconds. Nothing is written to code, so nothing is lost. Other C
    libraries than glibc have the same call. Where /proc cannot be read nothing is done.
    """
    libc = ctypes.CDLL(None)
    with (
        contextlib.suppress(OSError),
        Path("/proc/self/smaps").open(errors="replace") as smaps,
    ):
        for begin, end in unchanged_code(smaps):
            libc.madvise(
                ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED
            )


def unchanged_code(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield the first address and the end of each mapping of a file's code. Pure.

    Not of code that was changed in memory, as a debugger does: that is in no file.

    Args:
        smaps: lines of /proc/PID/smaps.
    """
    found: tuple[int, int] | None = None
    for line in smaps:
        if "-" in line.partition(" ")[0]:
            mapping = _MAPPING.match(line)
            found = (int(mapping[1], 16), int(mapping[2], 16)) if mapping else None
        elif found and line.split() == ["Anonymous:", "0", "kB"]:
            yield found
