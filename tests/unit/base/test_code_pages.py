"""Code that only the start needed is not kept in memory."""

import subprocess
import sys

from consul_ebpf.base.code_pages import unchanged_code

SMAPS = """\
00400000-00500000 r--p 00000000 fe:00 12 /usr/bin/python3.11
Anonymous:             0 kB
00500000-00600000 r-xp 00100000 fe:00 12 /usr/bin/python3.11
Rss:                 900 kB
Anonymous:             0 kB
00600000-00700000 r-xp 00000000 fe:00 13 /usr/lib/a library (deleted)
Anonymous:             0 kB
00700000-00800000 r-xp 00000000 fe:00 14 /usr/lib/with-a-breakpoint.so
Anonymous:             4 kB
00800000-00900000 rw-p 00100000 fe:00 12 /usr/bin/python3.11
Anonymous:             0 kB
00900000-00a00000 r-xp 00000000 00:00 0
Anonymous:             0 kB
7fff1000-7fff3000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
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


def test_which_mappings_are_code_as_it_is_in_a_file() -> None:
    """Not data, nor code that somebody changed in memory, nor what is in no file."""
    found = list(unchanged_code(SMAPS.splitlines()))
    assert [(0x500000, 0x600000), (0x600000, 0x700000)] == found


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
