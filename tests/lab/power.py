"""Take the power off a process's host, as the network sees it: packets go nowhere.

No reset, no refusal: a program of two instructions at the process's cgroup drops what
its sockets send and what is sent to them.
"""

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from consul_ebpf.kernel import libbpf

_CGROUP_SKB = 8  # enum bpf_prog_type
_INGRESS, _EGRESS = 0, 1  # enum bpf_attach_type
_DROP = bytes.fromhex("b700000000000000 9500000000000000")  # r0 = 0; exit


@contextmanager
def powered_off(cgroup: Path) -> Iterator[None]:
    """Drop all packets of the sockets made in a cgroup."""
    with _filtering(cgroup, _DROP):
        yield


@contextmanager
def _filtering(cgroup: Path, instructions: bytes) -> Iterator[None]:
    lib = libbpf.lib()
    size = len(instructions)
    code = ctypes.create_string_buffer(instructions, size)
    program = libbpf.checked(
        lib.bpf_prog_load(_CGROUP_SKB, b"off", b"GPL", code, size // 8, None),
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


_PASS, _DROPS = 1000, 1001  # jumps to the program's two ends

RAFT_PORTS = (8300, 8301, 8302)
"""What Consul's servers say to each other, and serf's gossip."""


@contextmanager
def cut_off(cgroup: Path) -> Iterator[None]:
    """Drop what a server in a cgroup says to its peers, and nothing else."""
    with _filtering(cgroup, _ports_dropped(RAFT_PORTS)):
        yield


def _ports_dropped(ports: Iterable[int]) -> bytes:
    """Return a program: drop an IPv4 packet from or to one of these ports."""
    code = [
        (0xB7, 0x02, 0, 20),  # r2 = behind an IPv4 header without options
        (0xBF, 0xA3, 0, 0),  # r3 = the stack
        (0x07, 0x03, 0, -4),
        (0xB7, 0x04, 0, 4),
        (0x85, 0x00, 0, 26),  # bpf_skb_load_bytes: both ports
        (0x55, 0x00, _PASS, 0),
    ]
    for offset in (-4, -2):
        code += [(0x69, 0xA1, offset, 0), (0xDC, 0x01, 0, 16)]  # r1 = a port
        code += [(0x15, 0x01, _DROPS, port) for port in ports]
    end = len(code)
    to = {_PASS: end, _DROPS: end + 2}
    code = [
        (op, registers, to[jump] - at - 1 if jump in to else jump, value)
        for at, (op, registers, jump, value) in enumerate(code)
    ]
    code += [(0xB7, 0, 0, 1), (0x95, 0, 0, 0), (0xB7, 0, 0, 0), (0x95, 0, 0, 0)]
    return b"".join(struct.pack("<BBhi", *each) for each in code)
