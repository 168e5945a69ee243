"""A second program beside ours: installed by the same code, from another value."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consul_ebpf import Server
from consul_ebpf.kernel import libbpf, objects
from consul_ebpf.kernel.install import install
from consul_ebpf.kernel.installed import Installed
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT, Program, TableShape
from consul_ebpf.kernel.watchdog import mend
from tests.kernel.conftest import Kernel, connect, endpoint, table
from tests.lab.processes import wait_until

pytestmark = pytest.mark.kernel

HOOKS = {"connect4": 10, "sendmsg4": 14}
DATAGRAM_PORT = 9


@pytest.fixture
def second(tmp_path: Path) -> Program:
    """The value, with a source of the test's own."""
    source = tmp_path / "second.c"
    shutil.copy(Path(__file__).with_name("second.c"), source)
    shutil.copytree(CONNECT.source.with_name("stub"), tmp_path / "stub")
    shape = TableShape(libbpf.HASH, 4, 8, 16)
    return Program("consul-ebpf-second", 7, source, HOOKS, {"seen": shape})


@contextmanager
def installed(kernel: Kernel, program: Program) -> Iterator[tuple[Pins, Installed]]:
    """Install it as a controller's start does; what is pinned stays."""
    with Pins(kernel.bpffs, program) as pins:
        entries = program.tables["seen"].entries
        there = install(pins, kernel.cgroup, {"SEEN": entries})
        try:
            yield pins, there
        finally:
            there.close()


def send() -> None:
    """Send a datagram, unconnected."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b".", ("127.0.0.1", DATAGRAM_PORT))


def seen(there: Installed, port: int) -> int:
    """Return how often the second program saw a port."""
    key = socket.htons(port).to_bytes(4, sys.byteorder)
    return int.from_bytes(there.tables["seen"].lookup(key) or b"", sys.byteorder)


def counts(kernel: Kernel) -> dict[str, int]:
    """Return how many programs are attached at each hook of either program."""
    directory = os.open(kernel.cgroup, os.O_RDONLY)
    try:
        return {
            hook: len(objects.programs_at(directory, kind)[0])
            for hook, kind in {**CONNECT.hooks, **HOOKS}.items()
        }
    finally:
        os.close(directory)


def wait_for_counts(kernel: Kernel, expected: dict[str, int]) -> None:
    """Wait: Linux 5.10 was seen to have programs a moment longer than their pins."""
    wait_until(lambda: counts(kernel) == expected, f"{expected} programs", 5)


def test_a_second_program_comes_and_goes_beside_the_first(
    kernel: Kernel, servers: list[Server], second: Program
) -> None:
    """Other hooks, another table, another directory; nothing is left of it."""
    with kernel.open() as backend:
        backend.apply(table(servers[:1]))
        ours = Pins(kernel.bpffs).links()
        with installed(kernel, second) as (pins, there):
            assert kernel.call(connect) == endpoint(servers[0])
            kernel.call(send)
            assert seen(there, DATAGRAM_PORT) == 1
            names = {path.name for path in pins.current.iterdir()}
            assert names == {"seen", "compiled", *HOOKS}
            assert pins.current == kernel.bpffs / "consul-ebpf-second" / "v7"
            assert counts(kernel) == {"connect4": 2, "connect6": 1, "sendmsg4": 1}
            assert backend.mend() == mend(pins, there) == ()
            assert pins.remove()
        wait_for_counts(kernel, {"connect4": 1, "connect6": 1, "sendmsg4": 0})
        assert Pins(kernel.bpffs).links() == ours
        assert backend.mend() == ()
        assert kernel.call(connect) == endpoint(servers[0])
        backend.detach()
    wait_for_counts(kernel, {"connect4": 0, "connect6": 0, "sendmsg4": 0})
    assert list(kernel.bpffs.glob("consul*")) == []


def test_a_second_programs_table_is_kept_carried_and_mended(
    kernel: Kernel, second: Program
) -> None:
    """Over a restart, to another size and layout, and when its pins are gone."""
    with installed(kernel, second):
        kernel.call(send)
    with installed(kernel, second) as (_, there):
        kernel.call(send)
        assert seen(there, DATAGRAM_PORT) == 2
    with installed(kernel, second.sized(seen=32)) as (pins, there):
        kernel.call(send)
        assert seen(there, DATAGRAM_PORT) == 3
        assert there.tables["seen"].info.max_entries == 32
        shutil.rmtree(pins.current)
        lines = mend(pins, there)
        assert [line.split()[3] for line in lines] == ["seen", "connect4", "sendmsg4"]
        assert mend(pins, there) == ()
        assert pins.remove()
    assert list(kernel.bpffs.glob("consul*")) == []
