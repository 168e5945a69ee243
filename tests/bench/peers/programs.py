"""Two programs that are not ours: one that does nothing, one that does the least.

The second is what a proof of concept of this project is: one VIP, one entry in one map,
which somebody rewrites when the server is to be another one.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consul_ebpf.kernel.libbpf import ARRAY
from consul_ebpf.kernel.program import CONNECT, Program, TableShape
from tests.bench.peers.peer import (
    LISTEN_PORT,
    SERVER,
    VIRTUAL,
    VIRTUAL_PORT,
    Peer,
    Target,
    place,
)
from tests.lab.attached import EMPTY, attached
from tests.lab.scratch import scratch_bpffs

EMPTY_NAME = "empty program"
ONE_ENTRY_NAME = "one-entry map"
ONE_ENTRY = Program(
    name="one-entry",
    layout=1,
    source=Path(__file__).with_name("one_entry.c"),
    hooks={"connect4": CONNECT.hooks["connect4"]},
    tables={"entry": TableShape(ARRAY, 4, 8, 1)},
)


@contextmanager
def empty_program() -> Iterator[Peer]:
    """Attach a program that returns 1, loaded as ours is; connects are direct."""
    with (
        place() as (netns, cgroup),
        scratch_bpffs() as bpffs,
        attached(EMPTY, cgroup, bpffs),
    ):
        yield Peer(EMPTY_NAME, netns, cgroup, bpffs=bpffs)


@contextmanager
def one_entry() -> Iterator[Peer]:
    """Attach a program that leads one VIP to the address in its one row."""
    virtual = {"ADDRESS": _word(VIRTUAL), "PORT": _short(VIRTUAL_PORT)}
    with (
        place() as (netns, cgroup),
        scratch_bpffs() as bpffs,
        attached(ONE_ENTRY, cgroup, bpffs, **virtual) as tables,
    ):
        row = _word(SERVER).to_bytes(4, sys.byteorder)
        row += _short(LISTEN_PORT).to_bytes(4, sys.byteorder)
        tables["entry"].update(bytes(4), row)
        target = Target(VIRTUAL, VIRTUAL_PORT)
        yield Peer(ONE_ENTRY_NAME, netns, cgroup, target, bpffs)


def _word(address: str) -> int:
    packed = bytes(map(int, address.split(".")))
    return int.from_bytes(packed, sys.byteorder)


def _short(port: int) -> int:
    return int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
