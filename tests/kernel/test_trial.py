"""A connect through a VIP of `doctor`'s own, with and without others at the hook."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from consul_ebpf import Server, Table
from consul_ebpf.kernel import libbpf
from consul_ebpf.kernel.codec import defines
from consul_ebpf.kernel.links import attach, programs_at
from consul_ebpf.kernel.loader import load_program
from consul_ebpf.kernel.program import CONNECT
from consul_ebpf.kernel.tables import close_tables, make_tables
from consul_ebpf.kernel.trial import Place, Reached, trial
from tests.kernel.conftest import FAILING, Kernel, endpoint, listening, rows, table
from tests.lab.scratch import scratch_bpffs, scratch_directory

pytestmark = pytest.mark.kernel

SERVICE = "10.255.0.1"
RANGE = IPv4Network("127.64.0.0/10")


def place(kernel: Kernel) -> Place:
    return Place(kernel.bpffs, kernel.cgroup, RANGE, 8502)


def text(server: Server) -> str:
    address, port = endpoint(server)
    return f"{address}:{port}"


def reach(kernel: Kernel, server: Server, others: list[str] | None = None) -> Reached:
    with trial(place(kernel), [server]) as tried:
        vip = tried.vip_to(server)
        assert vip is not None
        reached = tried.connect(vip)
        if others is not None:
            others += tried.others()
    return reached


@contextmanager
def translating(
    kernel: Kernel, to: str, verdict: int = 1
) -> Iterator[Callable[[], None]]:
    """Attach what changes the service's address when the yielded function is called."""
    with ExitStack() as stack:
        bpffs = stack.enter_context(scratch_bpffs())
        source = stack.enter_context(scratch_directory())
        program = replace(CONNECT, source=source / "connect.c").sized(vips=1)
        close_tables(make_tables(program, bpffs))
        shutil.copytree(CONNECT.source.parent, source, dirs_exist_ok=True)
        shutil.copy(Path(__file__).with_name("translate.c"), source / "connect.c")
        word = {
            name: defines(IPv4Network(address), 1, 1.0, 1)["VIP_NETWORK"]
            for name, address in (("FROM_ADDRESS", SERVICE), ("TO_ADDRESS", to))
        }
        defined = {"MAX_VIPS": 1, "VERDICT": verdict, **word}
        load_program(program, defined, bpffs, bpffs)
        programs = {hook: libbpf.obj_get(bpffs / hook) for hook in program.hooks}
        for loaded in programs.values():
            stack.callback(os.close, loaded)

        def attach_it() -> None:
            for hook, loaded in programs.items():
                link = attach(loaded, hook, program.hooks[hook], kernel.cgroup)
                stack.callback(os.close, link)

        yield attach_it


@pytest.mark.parametrize("running", [True, False], ids=["attached", "nothing there"])
@pytest.mark.parametrize("address", ["127.0.12.1", "::1"])
def test_fault_107_the_whole_way_works(
    kernel: Kernel, running: bool, address: str
) -> None:
    """By the tables in use, or by a program for this moment; nothing is left of it."""
    with listening(address) as server, ExitStack() as stack:
        if running:
            backend = stack.enter_context(kernel.open())
            backend.apply(table([server]))
            before = backend.read().table
        assert reach(kernel, server) == Reached(True, server.endpoint, "")
        if running:
            assert backend.read().table == before
        else:
            assert list(kernel.bpffs.glob("consul-ebpf*")) == []
            assert programs_at(CONNECT.hooks["connect4"], kernel.cgroup) == []
        assert [each.name for each in kernel.cgroup.glob("consul-ebpf*")] == []


def test_fault_107_a_server_that_is_not_ready_there_has_no_vip(
    kernel: Kernel, servers: list[Server]
) -> None:
    """Nor has one that is not in the table."""
    with kernel.open() as backend:
        backend.apply(Table(rows(servers[:2], FAILING), {}))
        with trial(place(kernel), servers) as tried:
            ready = [tried.vip_to(server) is not None for server in servers]
    assert ready == [False, True, False]


@pytest.mark.parametrize("running", [True, False], ids=["attached", "nothing there"])
def test_fault_107_another_program_that_translates_is_found(
    kernel: Kernel, servers: list[Server], running: bool
) -> None:
    """Before ours it knows the VIP, not the service: the server is out of reach. After
    ours it leads on to where it likes."""
    service = Server("service", servers[0].port, IPv4Address(SERVICE))
    behind = str(servers[0].address)
    with ExitStack() as stack:
        attach_it = stack.enter_context(translating(kernel, behind))
        if running:
            backend = kernel.open()
            backend.apply(table([service]))
            stack.callback(backend.close)
            attach_it()
            assert reach(kernel, service) == Reached(True, text(servers[0]), "")
            backend.detach()
        else:
            attach_it()
        others: list[str] = []
        reached = reach(kernel, service, others)
        assert reached.seen
        assert reached.error
        assert [name.split("'")[1] for name in others] == ["connect4", "connect6"]


def test_fault_107_another_program_that_refuses_is_found(
    kernel: Kernel, servers: list[Server]
) -> None:
    """A connect that does not come to ours is told from one that fails behind it."""
    with translating(kernel, "127.0.0.1", verdict=0) as attach_it:
        attach_it()
        reached = reach(kernel, servers[0])
        assert reached.peer == ""
        assert reached.error == os.strerror(1)
