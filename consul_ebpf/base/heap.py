"""How this process keeps its memory: what it has freed, and what stays for good.

Other C libraries than glibc have no such calls; there nothing is done.
"""

import ctypes
import gc

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h

LARGE_BYTES = 128 * 1024


def use_one_arena() -> None:
    """Let all threads share one heap, of small things; call it before there are any.

    glibc gives each thread a heap of its own, so that they need not wait for each
    other. Here they seldom meet, and each of these heaps keeps what was once used. And
    what is large would leave gaps in it: glibc takes it from there by and by.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def give_back() -> None:
    """Give freed memory back to the kernel. Takes milliseconds."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def settle() -> None:
    """Have garbage collection pass over all objects that there are now.

    To look through those of 65,536 proxies takes half a second, in which no thread of
    this process runs. They are freed all the same once nothing refers to them; only
    those that refer to each other are not. So call it once.
    """
    gc.freeze()
