"""Finds the capability that this kernel requires for bpf() with an open descriptor.

Since Linux 5.19 it requires none. An older one requires CAP_BPF (5.8 and newer) or
CAP_SYS_ADMIN for every bpf() call if kernel.unprivileged_bpf_disabled is set: without
it a controller could not write the tables that it has opened. Distributions backport
changes, so each capability is tried, and the kernel's version does not matter.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Mapping

from consul_ebpf.kernel import capabilities, libbpf
from consul_ebpf.model.errors import KernelError

_CHOICES = ("", "bpf", "sys_admin")  # the least first
_WHY = "this kernel refuses every bpf() call without it"


def to_keep(table: int) -> Mapping[str, str]:
    """Return the capability to keep for a table's descriptor, with the reason.

    It tries each in a fork, because capabilities are given up for good: call it while
    there is only one thread.
    """
    return chosen(lambda name: _in_a_fork(table, {name} - {""}))


def chosen(works_with: Callable[[str], bool]) -> Mapping[str, str]:
    """Return the least capability that works, with the reason; usually none is needed.

    Args:
        works_with: returns whether bpf() works with this capability alone; "": none.
    """
    for name in _CHOICES:
        if works_with(name):
            return {name: _WHY} if name else {}
    return dict.fromkeys(filter(None, _CHOICES), _WHY)


def to_keep_here() -> Mapping[str, str]:
    """Return what `to_keep` would return, before there is a table.

    Raises:
        KernelError: no table can be made to try it with.
    """
    try:
        table = libbpf.map_create("probe", libbpf.MapShape(libbpf.ARRAY, 4, 4, 1))
    except OSError as error:
        raise KernelError(f"no table can be made: {error.strerror}") from error
    try:
        return to_keep(table)
    finally:
        os.close(table)


def _in_a_fork(table: int, names: set[str]) -> bool:
    pid = os.fork()
    if not pid:
        works = False
        try:
            works = capabilities.keep_only(names) == names and _answers(table)
        finally:
            os._exit(0 if works else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _answers(table: int) -> bool:
    key = ctypes.create_string_buffer(4096)
    if libbpf.lib().bpf_map_get_next_key(table, None, key) >= 0:
        return True
    return ctypes.get_errno() == errno.ENOENT  # it is empty
