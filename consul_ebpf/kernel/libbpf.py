"""The few libbpf calls the long-lived controller makes, without BCC and its LLVM.

Debian's BCC brings `libbpf.so.1` along. Calls raise `OSError` with the kernel's errno;
callers turn it into one of our errors where they know what it means.
"""

import ctypes
import functools
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.base.steps import step
from consul_ebpf.kernel import btf
from consul_ebpf.model.errors import KernelFeatureError

HASH, ARRAY, LRU_HASH, SK_STORAGE = 1, 2, 9, 24  # enum bpf_map_type

_MEMBARRIER = {"x86_64": 324, "aarch64": 283}  # system call numbers
_MEMBARRIER_CMD_GLOBAL = 1


class _MapCreateOpts(ctypes.Structure):
    """Head of struct bpf_map_create_opts."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        *(
            (name, ctypes.c_uint32)
            for name in (
                "btf_fd",
                "btf_key_type_id",
                "btf_value_type_id",
                "btf_vmlinux_value_type_id",
                "inner_map_fd",
                "map_flags",
            )
        ),
    ]


@functools.cache
def lib() -> ctypes.CDLL:
    """Return libbpf.

    Raises:
        KernelFeatureError: it is not installed.
    """
    try:
        return ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise KernelFeatureError(
            "libbpf.so.1 cannot be loaded: install the distribution's BCC "
            f"(Debian: apt-get install python3-bpfcc) ({error})"
        ) from error


def checked(result: int, what: str) -> int:
    """Return a call's result; raises OSError with the kernel's errno if it failed.

    libbpf returns that errno negated.
    """
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def obj_get(path: Path) -> int:
    """Open a pin; returns a descriptor."""
    return checked(lib().bpf_obj_get(os.fsencode(path)), f"open pin {path}")


def obj_pin(fd: int, path: Path) -> None:
    """Pin an object in bpffs."""
    step(f"pin {path.name}")
    checked(lib().bpf_obj_pin(fd, os.fsencode(path)), f"pin {path}")


def link_create(program: int, cgroup: int, attach_type: int) -> int:
    """Attach a program to a cgroup; returns the link's descriptor.

    The link lives as long as this descriptor or a pin of it.
    """
    step("create a link")
    result = lib().bpf_link_create(program, cgroup, attach_type, None)
    return checked(result, "attach to the cgroup (bpf_link_create)")


def link_update(link: int, program: int) -> None:
    """Replace the link's program; at each moment one of the two is attached."""
    step("update a link")
    checked(lib().bpf_link_update(link, program, None), "replace the program")


def wait_for_readers() -> None:
    """Wait until every program run that began before this call has ended.

    Programs run inside RCU read sections, and membarrier's global command is
    synchronize_rcu() by another name; it takes some tens of milliseconds.
    """
    number = _MEMBARRIER.get(platform.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    if number is None or libc.syscall(number, _MEMBARRIER_CMD_GLOBAL, 0, 0) < 0:
        time.sleep(0.1)  # refused on nohz_full kernels; a run takes microseconds


@dataclass(frozen=True, slots=True)
class MapShape:
    """What a map looks like: its kind (`HASH`, ...), sizes in bytes, rows, flags."""

    kind: int
    key: int
    value: int
    entries: int
    flags: int = 0


def map_create(name: str, shape: MapShape) -> int:
    """Make a map; returns its descriptor."""
    step(f"create {name}")
    options = _MapCreateOpts(size=ctypes.sizeof(_MapCreateOpts), map_flags=shape.flags)
    types = -1
    if shape.kind == SK_STORAGE:  # the only kind we use that the kernel wants BTF for
        types = _load_types(shape.value)
        options.btf_fd = types
        options.btf_key_type_id, options.btf_value_type_id = btf.INT, btf.ARRAY
    try:
        result = lib().bpf_map_create(
            shape.kind,
            name.encode(),
            shape.key,
            shape.value,
            shape.entries,
            ctypes.byref(options),
        )
        return checked(result, f"make the table {name}")
    finally:
        if types >= 0:
            os.close(types)


def _load_types(size: int) -> int:
    """Load the BTF of a map with values of `size` bytes; returns its descriptor."""
    blob = btf.types_of(size)
    result = lib().bpf_btf_load(blob, ctypes.c_size_t(len(blob)), None)
    return checked(result, "load a table's types")
