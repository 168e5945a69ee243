"""A program as a value: its source, where it is attached, the tables it uses.

Loading, pinning, attaching and mending work on any of them. `CONNECT` is the one there
is: bpf/connect.c, which leads VIPs to servers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import consul_ebpf
from consul_ebpf.kernel import codec
from consul_ebpf.kernel.libbpf import ARRAY, HASH, MapShape

_NO_PREALLOC = 1  # memory as it is used, not for all VIPs at once


@dataclass(frozen=True, slots=True)
class TableShape(MapShape):
    """What the map of a table is to be."""

    first_value: int = 0
    """Bytes of a row in the table's first layout: no layout has smaller ones."""


@dataclass(frozen=True, slots=True)
class Program:
    """All in which one program differs from another.

    Two programs on one host have two names, and no table in common.
    """

    name: str
    """Its directory in bpffs."""
    layout: int
    """Raised with every change of a row in its tables; part of the pins' path."""
    source: Path
    """The C source; the stub headers are beside it. It finds its tables, which are
    pinned before it is loaded, at the paths PIN_<TABLE>."""
    hooks: Mapping[str, int]
    """Name of a function in the source, and of its link's pin -> where it is attached
    (enum bpf_attach_type)."""
    tables: Mapping[str, TableShape]

    def sized(self, **entries: int) -> Self:
        """Return it with other numbers of rows, by table."""
        shapes = {
            name: replace(shape, entries=entries.get(name, shape.entries))
            for name, shape in self.tables.items()
        }
        return replace(self, tables=shapes)


def _sources() -> Path:
    """Return the directory of the C sources: in the package when it is installed."""
    package = Path(consul_ebpf.__file__).parent
    inside = package / "bpf"
    return inside if inside.exists() else package.parent / "bpf"


CONNECT = Program(
    name="consul-ebpf",
    layout=codec.LAYOUT,
    source=_sources() / "connect.c",
    hooks={"connect4": 10, "connect6": 11},  # BPF_CGROUP_INET4_CONNECT and so on
    tables={
        "servers": TableShape(ARRAY, 4, codec.SERVER.size, codec.SLOTS, first_value=32),
        "vips": TableShape(
            HASH, codec.VIP_KEY.size, codec.VIP.size, 65536, _NO_PREALLOC, 64
        ),
    },
)
