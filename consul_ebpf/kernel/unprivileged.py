"""Which capability bpf() needs here, for descriptors that were opened before.

None since Linux 5.19. Before, where kernel.unprivileged_bpf_disabled is set, the kernel
refuses every bpf() call without CAP_BPF (5.8 and newer) or CAP_SYS_ADMIN: a controller
without them could not write the tables it holds. Distributions take changes back into
older kernels, so the kernel is asked, not its version.
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

    Forks, as what is given up is given up for good: call it with one thread.
    """
    return chosen(lambda name: _in_a_fork(table, {name} - {""}))


def chosen(works_with: Callable[[str], bool]) -> Mapping[str, str]:
    """Return the least capability that works, with the reason; none is needed mostly.

    Args:
        works_with: whether bpf() works with this capability alone; "": with none.
    """
    for name in _CHOICES:
        if works_with(name):
            return {name: _WHY} if name else {}
    return dict.fromkeys(filter(None, _CHOICES), _WHY)


def to_keep_here() -> Mapping[str, str]:
    """Return what `to_keep` will, before there is a table.

    Raises:
        KernelError: no table can be made, so that cannot be told.
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
