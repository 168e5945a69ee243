"""The few libbpf calls the long-lived controller makes, without BCC and its LLVM.

`libbpf.so.1` is there wherever Debian's BCC is. Calls raise `OSError` with the
kernel's errno; callers turn it into one of our errors where they know what it means.
"""

import ctypes
import errno
import functools
import os
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf._errors import KernelFeatureError

BPF_ANY, BPF_NOEXIST, BPF_EXIST = 0, 1, 2
CGROUP_INET4_CONNECT, CGROUP_INET6_CONNECT = 10, 11  # enum bpf_attach_type

_BATCH = 4096
_MEMBARRIER = {"x86_64": 324, "aarch64": 283}  # system call numbers
_MEMBARRIER_CMD_GLOBAL = 1


class _MapInfo(ctypes.Structure):
    """Head of struct bpf_map_info."""

    _fields_ = [
        (name, ctypes.c_uint32)
        for name in (
            "type",
            "id",
            "key_size",
            "value_size",
            "max_entries",
            "map_flags",
        )
    ]


class _LinkInfo(ctypes.Structure):
    """Head of struct bpf_link_info, with the cgroup variant of its union."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("cgroup_id", ctypes.c_uint64),
        ("attach_type", ctypes.c_uint32),
    ]


class _ProgInfo(ctypes.Structure):
    """Head of struct bpf_prog_info, up to the run statistics."""

    _pack_ = 1
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("_skip", ctypes.c_uint8 * 176),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
    ]


@functools.cache
def _lib() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise KernelFeatureError(
            "libbpf.so.1 cannot be loaded: install the distribution's BCC "
            f"(Debian: apt-get install python3-bpfcc) ({error})"
        ) from error


def _checked(result: int, what: str) -> int:
    """Raise the kernel's errno; libbpf returns it negated."""
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def obj_get(path: Path) -> int:
    """Open a pin; returns a descriptor."""
    return _checked(_lib().bpf_obj_get(os.fsencode(path)), f"open pin {path}")


def obj_pin(fd: int, path: Path) -> None:
    """Pin an object in bpffs."""
    _checked(_lib().bpf_obj_pin(fd, os.fsencode(path)), f"pin {path}")


def link_create(program: int, cgroup: int, attach_type: int) -> int:
    """Attach to a cgroup; lives as long as the returned descriptor or a pin of it."""
    result = _lib().bpf_link_create(program, cgroup, attach_type, None)
    return _checked(result, "attach to the cgroup (bpf_link_create)")


def link_update(link: int, program: int) -> None:
    """Replace the link's program; there is no moment without one."""
    _checked(_lib().bpf_link_update(link, program, None), "replace the program")


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
class MapInfo:
    """What the kernel says of a map."""

    type: int
    key_size: int
    value_size: int
    max_entries: int


def _info(fd: int, info: ctypes.Structure) -> None:
    size = ctypes.c_uint32(ctypes.sizeof(info))
    result = _lib().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    _checked(result, "ask for an object's info")


def map_info(fd: int) -> MapInfo:
    """Ask the kernel what kind of map this is."""
    info = _MapInfo()
    _info(fd, info)
    return MapInfo(info.type, info.key_size, info.value_size, info.max_entries)


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says of a link; `cgroup_id` 0 means it was severed."""

    program_id: int
    cgroup_id: int
    attach_type: int


def link_info(fd: int) -> LinkInfo:
    """Ask the kernel where a link is attached."""
    info = _LinkInfo()
    _info(fd, info)
    return LinkInfo(info.prog_id, info.cgroup_id, info.attach_type)


@dataclass(frozen=True, slots=True)
class ProgramStats:
    """A program's id and, while kernel.bpf_stats_enabled is on, its runs."""

    id: int
    runs: int
    run_time_ns: int


def program_stats(fd: int) -> ProgramStats:
    """Ask the kernel how often and how long a program ran."""
    info = _ProgInfo()
    _info(fd, info)
    return ProgramStats(info.id, info.run_cnt, info.run_time_ns)


def program_fd(program_id: int) -> int:
    """Open a program by id; needs CAP_SYS_ADMIN."""
    return _checked(_lib().bpf_prog_get_fd_by_id(program_id), "open a program")


class Map:
    """An opened map with fixed key and value sizes. Not safe for two threads."""

    def __init__(self, fd: int) -> None:
        """Take over `fd`."""
        self.fd = fd
        self.info = map_info(fd)

    def __repr__(self) -> str:
        return f"<Map fd={self.fd} {self.info}>"

    def close(self) -> None:
        """Close the descriptor; the map lives on in its pin."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def lookup(self, key: bytes) -> bytes | None:
        """Return a value, None if there is none."""
        value = ctypes.create_string_buffer(self.info.value_size)
        if _lib().bpf_map_lookup_elem(self.fd, key, value) < 0:
            if ctypes.get_errno() == errno.ENOENT:
                return None
            _checked(-1, "look up a table entry")
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Write one entry; a reader sees the old or the new one."""
        result = _lib().bpf_map_update_elem(self.fd, key, value, ctypes.c_uint64(0))
        _checked(result, "write a table entry")

    def delete(self, key: bytes) -> None:
        """Remove one entry; one that is not there is fine."""
        if _lib().bpf_map_delete_elem(self.fd, key) < 0 and (
            ctypes.get_errno() != errno.ENOENT
        ):
            _checked(-1, "remove a table entry")

    def update_many(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Write many entries, each as `update` does, in as few calls as possible."""
        pairs = list(entries)
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            count = ctypes.c_uint32(len(batch))
            result = _lib().bpf_map_update_batch(
                self.fd,
                b"".join(key for key, _ in batch),
                b"".join(value for _, value in batch),
                ctypes.byref(count),
                None,
            )
            if result < 0:
                # A kernel without batches (before 5.6), or one entry that does not
                # go in: one by one, so that the error is that entry's own.
                for key, value in batch:
                    self.update(key, value)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all entries; ones written meanwhile may or may not be among them."""
        key: bytes | None = None
        buffer = ctypes.create_string_buffer(self.info.key_size)
        seen: set[bytes] = set()
        while _lib().bpf_map_get_next_key(self.fd, key, buffer) >= 0:
            key = buffer.raw
            if key in seen:  # the key before was removed, and the walk began anew
                continue
            seen.add(key)
            value = self.lookup(key)
            if value is not None:
                yield key, value
