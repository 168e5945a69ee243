"""Take the power off a process's host, as the network sees it: packets go nowhere.

No reset, no refusal: a program of two instructions at the process's cgroup drops what
its sockets send and what is sent to them.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consul_ebpf.kernel import libbpf

_CGROUP_SKB = 8  # enum bpf_prog_type
_INGRESS, _EGRESS = 0, 1  # enum bpf_attach_type
_DROP = bytes.fromhex("b700000000000000 9500000000000000")  # r0 = 0; exit


@contextmanager
def powered_off(cgroup: Path) -> Iterator[None]:
    """Drop all packets of the sockets made in a cgroup."""
    lib = libbpf.lib()
    code = ctypes.create_string_buffer(_DROP, len(_DROP))
    program = libbpf.checked(
        lib.bpf_prog_load(_CGROUP_SKB, b"off", b"GPL", code, len(_DROP) // 8, None),
        "load the dropping program",
    )
    directory = os.open(cgroup, os.O_RDONLY)
    links = [
        libbpf.link_create(program, directory, kind) for kind in (_INGRESS, _EGRESS)
    ]
    try:
        yield
    finally:
        for fd in (*links, directory, program):
            os.close(fd)
