"""How the C library keeps the memory that this process has freed.

Other C libraries than glibc have no such calls; there nothing is done.
"""

import ctypes

_M_ARENA_MAX = -8  # malloc.h


def use_one_arena() -> None:
    """Let all threads share one heap; call it before there are any.

    glibc gives each thread a heap of its own, so that they need not wait for each
    other. Here they seldom meet, and each of these heaps keeps what was once used.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give freed memory back to the kernel. Takes milliseconds."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
