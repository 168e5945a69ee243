"""What the kernel demands of who makes a table, or writes to an open one."""

import os
import re
import resource
from pathlib import Path

import pytest

from consul_ebpf import KernelError
from consul_ebpf.kernel import capabilities
from consul_ebpf.kernel.unprivileged import to_keep_here
from tests.kernel.conftest import Kernel

pytestmark = pytest.mark.kernel

VERSION = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
SETTING = Path("/proc/sys/kernel/unprivileged_bpf_disabled")


def test_fault_102_the_running_kernel_is_asked() -> None:
    """It demands nothing since Linux 5.19, before that CAP_BPF where this is set."""
    demanding = VERSION < (5, 19) and int(SETTING.read_text())
    assert set(to_keep_here()) == ({"bpf"} if demanding else set())


def test_the_limit_of_locked_memory_is_named_where_it_counts(kernel: Kernel) -> None:
    """Linux charges tables to it before 5.11, and says EPERM as for a capability."""

    def start() -> bool:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
        capabilities.keep_only({"sys_admin"})  # not the one that raises limits
        kernel.open()
        return True

    if VERSION >= (5, 11):
        assert kernel.call(start)
    else:
        with pytest.raises(KernelError, match="raise LimitMEMLOCK"):
            kernel.call(start)
