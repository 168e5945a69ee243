"""Of program files no more is kept in memory than is needed."""

import subprocess
import sys

from consul_ebpf.base.code_pages import unchanged_files

SMAPS = """\
00400000-00500000 r--p 00000000 fe:00 12 /usr/bin/python3.11
Rss:                 900 kB
Anonymous:             0 kB
Swap:                  0 kB
00500000-00600000 r-xp 00100000 fe:00 12 /usr/bin/a name (deleted)
Anonymous:             0 kB
Swap:                  0 kB
00600000-00700000 r-xp 00000000 fe:00 14 /usr/lib/with-a-breakpoint.so
Anonymous:             4 kB
Swap:                  0 kB
00700000-00800000 r--p 00000000 fe:00 14 /usr/lib/with-addresses-swapped-out.so
Anonymous:             0 kB
Swap:                  8 kB
00800000-00900000 rw-p 00100000 fe:00 12 /usr/bin/python3.11
Anonymous:             0 kB
Swap:                  0 kB
00900000-00a00000 r-xp 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
00a00000-00b00000 r--s 00000000 fe:00 15 /run/shared
Anonymous:             0 kB
Swap:                  0 kB
7fff1000-7fff3000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
Swap:                  0 kB
"""

GIVE_BACK = """
import hashlib
import re
from pathlib import Path
from consul_ebpf.base import code_pages

OF_LIBRARY = re.compile(r" r-xp [^\\n]*/libcrypto[^/]*\\nSize.*?Rss: +([0-9]+)", re.S)

def kilobytes():
    "Return how much of the library's code is in memory."
    return int(OF_LIBRARY.search(Path("/proc/self/smaps").read_text())[1])

def run_all():
    return {name: hashlib.new(name, b"x").digest() for name in ("sha256", "sha3_512")}

first = run_all()
before = kilobytes()
code_pages.give_back()
print(before, kilobytes(), run_all() == first)
"""


def test_which_mappings_are_as_their_files_are() -> None:
    """Not what may be written, was changed, also if swapped out, or is in no file."""
    found = list(unchanged_files(SMAPS.splitlines()))
    assert [(0x400000, 0x500000), (0x500000, 0x600000)] == found


def test_lines_that_nobody_expects_are_passed_over() -> None:
    """A kernel of the future may have others."""
    strange = ["", "\n", "Swap:\n", "Anonymous:", *SMAPS.splitlines(), "New: -1 kB"]
    assert len(list(unchanged_files(strange))) == 2


def test_what_runs_again_comes_back() -> None:
    """In a process of its own, in which no other thread runs."""
    done = subprocess.run(
        [sys.executable, "-c", GIVE_BACK],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    before, after, same = done.stdout.split()
    assert int(after) < int(before) / 2
    assert same == "True"
