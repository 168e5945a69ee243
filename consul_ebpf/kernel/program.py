"""`Program`: a program as a value, with its source, its hooks and its tables.

It can be loaded, pinned, attached and mended like any other. There are two, each with
its own tables: `CONNECT` (bpf/connect.c) leads the proxies' VIPs to servers, and `DNS`
(bpf/dns.c) leads the one VIP of DNS to the servers' DNS ports.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from consul_ebpf.kernel import codec
from consul_ebpf.kernel.libbpf import (
    ARRAY,
    HASH,
    LRU_HASH,
    SK_STORAGE,
    MapShape,
)
from consul_ebpf.kernel.objects import MapInfo

_NO_PREALLOC = 1  # BPF_F_NO_PREALLOC: memory is allocated for each row as it comes


@dataclass(frozen=True, slots=True)
class TableShape(MapShape):
    """What the map of a table looks like, and whether a start copies its rows."""

    first_value: int = 0
    """Bytes of a row in the table's first layout: no layout has smaller ones."""
    carried: bool = True
    """True: if a start makes new tables, it copies this one's rows. False: it uses the
    map that is there if that has this shape, else an empty one."""

    def fits(self, info: MapInfo) -> bool:
        """Whether a map has this kind, these sizes and this number of rows."""
        return (self.kind, self.key, self.value, self.entries) == (
            info.type,
            info.key_size,
            info.value_size,
            info.max_entries,
        )


@dataclass(frozen=True, slots=True)
class Program:
    """A program; programs on one host have different names, and share no table."""

    name: str
    """Its directory in bpffs."""
    layout: int
    """Raised with every change of a row in its tables; part of the pins' path."""
    source: Path
    """The C source; the stub headers are beside it. The tables are pinned before it is
    loaded, at the paths that it is given as PIN_<TABLE>."""
    hooks: Mapping[str, int]
    """Name of a function in the source, and of its link's pin -> where it is attached
    (enum bpf_attach_type)."""
    tables: Mapping[str, TableShape]
    last_hooks: frozenset[str] = frozenset()
    """Hooks that finish what others began, so they are detached after the others."""
    linux: str = "5.7"
    """The oldest version that has these hooks and kinds of tables."""

    @property
    def needs(self) -> str:
        """For error messages: which kernel it needs, and which one this is."""
        return (
            f"{self.name} needs Linux {self.linux} or newer, and this is "
            f"{os.uname().release}"
        )

    def sized(self, **entries: int) -> Self:
        """Return this program with these numbers of rows, by table."""
        shapes = {
            name: replace(shape, entries=entries.get(name, shape.entries))
            for name, shape in self.tables.items()
        }
        return replace(self, tables=shapes)


def _sources() -> Path:
    """Return the directory of the C sources: in the package when it is installed."""
    package = Path(__file__).parents[1]
    inside = package / "bpf"
    return inside if inside.exists() else package.parent / "bpf"


def _tables(vips: int) -> dict[str, TableShape]:
    """Return the shapes of the two tables that bpf/tables.h has for every program."""
    server, vip = codec.SERVER.size, codec.VIP.size
    return {
        "servers": TableShape(ARRAY, 4, server, codec.SLOTS, first_value=32),
        "vips": TableShape(HASH, codec.VIP_KEY.size, vip, vips, _NO_PREALLOC, 64),
    }


CONNECT = Program(
    name="consul-ebpf",
    layout=codec.LAYOUT,
    source=_sources() / "connect.c",
    hooks={"connect4": 10, "connect6": 11},  # BPF_CGROUP_INET4_CONNECT and so on
    tables=_tables(vips=65536),
)

DNS = Program(
    name="consul-ebpf-dns",
    layout=codec.DNS_LAYOUT,
    source=_sources() / "dns.c",
    hooks={
        "connect4": 10,
        "connect6": 11,
        "sendmsg4": 14,  # BPF_CGROUP_UDP4_SENDMSG
        "recvmsg4": 19,
        "recvmsg6": 20,
        "getpeername4": 29,
        "getpeername6": 30,
    },
    tables={
        **_tables(vips=1),
        "cgroups": TableShape(
            ARRAY, 4, codec.CGROUP.size, codec.MAX_CGROUPS, carried=False
        ),
        "heard": TableShape(ARRAY, 4, codec.HEARD.size, codec.SLOTS, carried=False),
        "askers": TableShape(
            LRU_HASH, 8, codec.ASKER.size, codec.MAX_ASKERS, carried=False
        ),
        "connected": TableShape(
            LRU_HASH, 8, codec.CONNECTED.size - 8, codec.MAX_CONNECTED, carried=False
        ),
        "asked": TableShape(
            SK_STORAGE, 4, codec.ASKED.size, 0, _NO_PREALLOC, carried=False
        ),
    },
    last_hooks=frozenset({"recvmsg4", "recvmsg6", "getpeername4", "getpeername6"}),
    linux="5.8",
)
