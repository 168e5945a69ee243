"""What processes would take alone, from what the kernel says of their mappings."""

import pytest

from tests.bench.fleet.memory import alone_kilobytes

FILE = """\
7f00-7f10 r-xp 00001000 fe:00 42                         /usr/lib/libc.so
Rss:                 {rss} kB
Pss:                 7 kB
Anonymous:           {anonymous} kB
VmFlags: rd ex
"""
HEAP = """\
5500-5600 rw-p 00000000 00:00 0                          [heap]
Rss:                 900 kB
Pss:                 {pss} kB
Anonymous:           900 kB
"""


@pytest.mark.parametrize("count", [1, 3])
def test_a_files_pages_count_once(count: int) -> None:
    """However many of them map it, and whoever else does."""
    maps = [FILE.format(rss=500, anonymous=0)] * count
    assert 500 == alone_kilobytes(maps)


def test_what_each_has_of_its_own_counts_each_time() -> None:
    """A heap, by its share if it came by a fork; and what was written to of a file."""
    maps = [
        FILE.format(rss=500, anonymous=20) + HEAP.format(pss=300),
        FILE.format(rss=130, anonymous=30) + HEAP.format(pss=100),
    ]
    assert 480 + 20 + 30 + 300 + 100 == alone_kilobytes(maps)
