"""Gives back the memory of program files that only the start needed.

A process counts each page of a library that it has ever touched, and the kernel maps
those beside it as well. Most were needed once, while modules were loaded.
"""

import contextlib
import ctypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_MADV_DONTNEED = 4  # mman.h
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \S+ +/")


def give_back() -> None:
    """Unmap what is as it is in its file; what is needed again comes from there.

    Takes milliseconds. Other C libraries than glibc have the same call. Where /proc
    cannot be read nothing is done.
    """
    libc = ctypes.CDLL(None)
    with (
        contextlib.suppress(OSError),
        # A file's name may have other ends of lines in it; the kernel escapes this one.
        Path("/proc/self/smaps").open(errors="replace", newline="\n") as smaps,
    ):
        for begin, end in unchanged_files(smaps):
            libc.madvise(
                ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED
            )


def unchanged_files(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield the first address and the end of each mapping of code or constants. Pure.

    Only of those that nothing may write to, and of which no page was ever changed: not
    tables of addresses, which the loader has filled in, nor code with a debugger's
    breakpoints. A changed page is in no file; it may be in memory or swapped out.

    Args:
        smaps: lines of /proc/PID/smaps.
    """
    found: tuple[int, int] | None = None
    for line in smaps:
        first, _, rest = line.partition(" ")
        if "-" in first:
            mapping = _MAPPING.match(line)
            found = (int(mapping[1], 16), int(mapping[2], 16)) if mapping else None
        elif first == "Anonymous:" and rest.split() != ["0", "kB"]:
            found = None
        elif first == "Swap:" and found and rest.split() == ["0", "kB"]:
            yield found  # Anonymous came before
