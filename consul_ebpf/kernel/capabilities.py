"""Reads this process's capabilities, and gives them up for good.

It makes the two system calls itself: python-prctl and pylibcap would have to be
compiled. Only the standard library is imported, because the helper uses this, too.
"""

import ctypes
import os
from collections.abc import Collection

NUMBERS = {
    "chown": 0,
    "dac_override": 1,
    "dac_read_search": 2,
    "fowner": 3,
    "net_admin": 12,
    "sys_ptrace": 19,
    "sys_admin": 21,
    "bpf": 39,
}
"""The capabilities that we use; names are in lower case and without CAP_."""

_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:  # noqa: PTH123  # pathlib weighs 1 MB
        return file.read()


def effective() -> frozenset[str]:
    """Return the names in `NUMBERS` whose capabilities this thread has in effect."""
    status = _read("/proc/thread-self/status")
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    bits = int(line.split()[1], 16)
    return frozenset(name for name, bit in NUMBERS.items() if bits >> bit & 1)


def keep_only(names: Collection[str]) -> frozenset[str]:
    """Give up all capabilities but these, now and for programs this thread executes.

    Each thread has its own capabilities: call it while there is only one thread.

    Returns:
        Those of `names` that this thread had.

    Raises:
        OSError: the kernel refused it.
    """
    kept = effective() & frozenset(names)
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = {NUMBERS[name] for name in kept}
    for number in range(int(_read("/proc/sys/kernel/cap_last_cap")) + 1):
        # Refused without CAP_SETPCAP: then no_new_privs keeps execs from gaining any.
        if number not in numbers:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    bits = sum(1 << number for number in numbers)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # effective, permitted, inheritable; then their upper halves
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    if libc.capset(header, data):
        number = ctypes.get_errno()
        raise OSError(number, f"capabilities cannot be given up: {os.strerror(number)}")
    return kept
