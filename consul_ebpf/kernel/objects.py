"""Asks the kernel about its maps, links and programs, and opens them by id.

Calls raise `OSError` with the kernel's errno, as in `libbpf.py`.
"""

import ctypes
from dataclasses import dataclass

from consul_ebpf.kernel.libbpf import checked, lib

MAX_PROGRAMS = 64
"""Most programs at one hook of one cgroup (BPF_CGROUP_MAX_PROGS)."""

_NAME = 16  # BPF_OBJ_NAME_LEN


class _MapInfo(ctypes.Structure):
    """Head of struct bpf_map_info."""

    _fields_ = [
        *(
            (name, ctypes.c_uint32)
            for name in (
                "type",
                "id",
                "key_size",
                "value_size",
                "max_entries",
                "map_flags",
            )
        ),
        ("name", ctypes.c_char * _NAME),
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
        ("_jited_len_to_created_by", ctypes.c_uint8 * 36),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * _NAME),
        ("_ifindex_to_prog_tags", ctypes.c_uint8 * 112),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
    ]


def _info(fd: int, info: ctypes.Structure) -> None:
    size = ctypes.c_uint32(ctypes.sizeof(info))
    result = lib().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    checked(result, "ask for an object's info")


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says of a map."""

    id: int
    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int


def map_info(fd: int) -> MapInfo:
    """Return what the kernel says of an open map."""
    info = _MapInfo()
    _info(fd, info)
    return MapInfo(
        info.id,
        info.name.decode(),
        info.type,
        info.key_size,
        info.value_size,
        info.max_entries,
    )


def map_fd(map_id: int) -> int:
    """Open a map by id; returns its descriptor. Needs CAP_SYS_ADMIN."""
    return checked(lib().bpf_map_get_fd_by_id(map_id), "open a map")


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says of a link; `cgroup_id` 0 means it was severed."""

    id: int
    program_id: int
    cgroup_id: int
    attach_type: int


def link_info(fd: int) -> LinkInfo:
    """Return what the kernel says of an open link."""
    info = _LinkInfo()
    _info(fd, info)
    return LinkInfo(info.id, info.prog_id, info.cgroup_id, info.attach_type)


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel says of a program.

    It counts runs while kernel.bpf_stats_enabled is on.
    """

    id: int
    name: str
    runs: int
    run_time_ns: int
    maps: tuple[int, ...]
    """Ids of the maps it uses."""
    tag: str = ""
    """The kernel's digest of its instructions, as hexadecimal digits."""


def program_info(fd: int) -> ProgramInfo:
    """Return what the kernel says of an open program."""
    maps = (ctypes.c_uint32 * 16)()
    info = _ProgInfo(nr_map_ids=len(maps), map_ids=ctypes.addressof(maps))
    _info(fd, info)
    return ProgramInfo(
        info.id,
        info.name.decode(),
        info.run_cnt,
        info.run_time_ns,
        tuple(maps[: min(info.nr_map_ids, len(maps))]),
        bytes(info.tag).hex(),
    )


def program_fd(program_id: int) -> int:
    """Open a program by id; returns its descriptor. Needs CAP_SYS_ADMIN."""
    return checked(lib().bpf_prog_get_fd_by_id(program_id), "open a program")


def programs_at(cgroup: int, attach_type: int) -> tuple[list[int], int]:
    """Return the ids of the programs attached at a cgroup itself, and its attach flags.

    Args:
        cgroup: a descriptor of its directory.
        attach_type: of the hook (enum bpf_attach_type).

    Needs CAP_NET_ADMIN.
    """
    ids = (ctypes.c_uint32 * MAX_PROGRAMS)()
    count, flags = ctypes.c_uint32(MAX_PROGRAMS), ctypes.c_uint32()
    result = lib().bpf_prog_query(
        cgroup, attach_type, 0, ctypes.byref(flags), ids, ctypes.byref(count)
    )
    checked(result, "ask what is attached")
    return list(ids[: count.value]), flags.value
