"""A loaded program's instructions, as the kernel has rewritten them, and how many.

Counts do not depend on how busy the machine is, unlike time.
"""

import ctypes
import os
import struct
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from consul_ebpf.kernel import libbpf, objects
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import Program

_SIZE = 8
_CALL, _EXIT, _ALWAYS, _ALWAYS_FAR, _WIDE = 0x85, 0x95, 0x05, 0x06, 0x18
_JUMPS = (0x05, 0x06)  # BPF_JMP, BPF_JMP32: the lowest three bits


class _Info(ctypes.Structure):
    """Head of struct bpf_prog_info, up to what the verifier counted."""

    _pack_ = 1
    _fields_ = [
        ("_type_id_tag", ctypes.c_uint8 * 16),
        ("jited_size", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("jited", ctypes.c_uint64),
        ("instructions", ctypes.c_uint64),
        ("_load_time_to_prog_tags", ctypes.c_uint8 * 152),
        ("_runs", ctypes.c_uint64 * 3),
        ("verified", ctypes.c_uint32),
    ]


@dataclass(frozen=True)
class Instruction:
    """One instruction; one that loads 64 bits counts as two."""

    code: int
    jump: int
    number: int

    @property
    def is_call(self) -> bool:
        """Whether it calls a helper, or what the kernel has put in its place."""
        return self.code == _CALL

    def next(self, at: int) -> list[int]:
        """Return where it may lead to, from `at`."""
        if self.code == _EXIT:
            return []
        if self.code == _WIDE:
            return [at + 2]
        if self.code == _ALWAYS:
            return [at + 1 + self.jump]
        if self.code == _ALWAYS_FAR:
            return [at + 1 + self.number]
        if self.code & 7 in _JUMPS and not self.is_call:
            return [at + 1, at + 1 + self.jump]
        return [at + 1]


@dataclass(frozen=True)
class Code:
    """A program's code.

    `verified` is how many instructions the verifier went through, path by path.
    """

    instructions: tuple[Instruction, ...]
    verified: int

    @classmethod
    def of(cls, bpffs: Path, program: Program, hook: str) -> Self:
        """Read that of the program attached at a hook."""
        fd = objects.program_fd(Pins(bpffs, program).links()[hook].program_id)
        try:
            size = _ask(fd, _Info()).size
            room = ctypes.create_string_buffer(size)
            info = _ask(fd, _Info(size=size, instructions=ctypes.addressof(room)))
        finally:
            os.close(fd)
        every = struct.iter_unpack("=BBhi", room.raw)
        code = tuple(Instruction(op, jump, number) for op, _, jump, number in every)
        return cls(code, info.verified)

    def shortest(self) -> list[Instruction]:
        """Return the fewest instructions that lead from the beginning to the end."""
        came: dict[int, int] = {0: -1}
        queue = deque([0])
        while queue:
            at = queue.popleft()
            following = self.instructions[at].next(at)
            if not following:
                break
            for each in following:
                if each not in came:
                    came[each] = at
                    queue.append(each)
        path = []
        while at >= 0:
            path.append(self.instructions[at])
            at = came[at]
        return path[::-1]


def _ask(fd: int, info: _Info) -> _Info:
    size = ctypes.c_uint32(ctypes.sizeof(info))
    result = libbpf.lib().bpf_obj_get_info_by_fd(
        fd, ctypes.byref(info), ctypes.byref(size)
    )
    libbpf.checked(result, "ask for a program's code")
    return info
