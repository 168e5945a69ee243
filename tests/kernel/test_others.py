"""Programs of other tools at the same hooks: respected, and named when in the way."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from consul_ebpf import KernelError, Server
from consul_ebpf.kernel import libbpf, objects
from consul_ebpf.kernel.loader import load_program
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT
from consul_ebpf.kernel.tables import close_tables, make_tables
from tests.kernel.conftest import Kernel, connect, endpoint, table
from tests.lab.attached import EMPTY
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_bpffs, scratch_directory
from tests.lab.versions import next_version

pytestmark = pytest.mark.kernel

EXCLUSIVE, MULTI = 0, 2  # attach flags


@pytest.fixture(scope="module")
def others() -> Iterator[dict[str, int]]:
    """Programs of "another tool", by hook: they let everything pass."""
    with scratch_bpffs() as bpffs, scratch_directory() as source:
        program = replace(CONNECT, source=source / "connect.c").sized(vips=1)
        close_tables(make_tables(program, bpffs))
        shutil.copytree(CONNECT.source.parent, source, dirs_exist_ok=True)
        shutil.copy(EMPTY.source, source / "connect.c")
        load_program(program, {"MAX_VIPS": 1}, bpffs, bpffs)
        programs = {hook: libbpf.obj_get(bpffs / hook) for hook in program.hooks}
        yield programs
        for fd in programs.values():
            os.close(fd)


@contextmanager
def attached(program: int, cgroup: Path, flags: int) -> Iterator[None]:
    """Attach as tools did before links: to the cgroup, for good."""
    directory = os.open(cgroup, os.O_RDONLY)
    kind = CONNECT.hooks["connect4"]
    lib = libbpf.lib()
    libbpf.checked(lib.bpf_prog_attach(program, directory, kind, flags), "attach")
    try:
        yield
    finally:
        libbpf.checked(lib.bpf_prog_detach2(program, directory, kind), "detach")
        os.close(directory)


def there(cgroup: Path) -> list[int]:
    """Return the ids of what is attached at connect4."""
    directory = os.open(cgroup, os.O_RDONLY)
    try:
        return objects.programs_at(directory, CONNECT.hooks["connect4"])[0]
    finally:
        os.close(directory)


def test_fault_76_programs_before_and_after_ours_go_on(
    kernel: Kernel, servers: list[Server], others: dict[str, int]
) -> None:
    """Each sees the connect; ours redirects, restarts and leaves without them."""
    other = objects.program_info(others["connect4"]).id
    with ExitStack() as stack:
        stack.enter_context(attached(others["connect4"], kernel.cgroup, MULTI))
        with kernel.open() as backend:
            backend.apply(table(servers))
            assert kernel.call(connect) == endpoint(servers[0])
            assert len(there(kernel.cgroup)) == 2
        link = libbpf.link_create(
            others["connect6"],
            os_directory(stack, kernel.cgroup),
            CONNECT.hooks["connect6"],
        )
        stack.callback(os.close, link)
        with kernel.open() as backend:
            assert kernel.call(connect) == endpoint(servers[1])
            assert backend.mend() == ()
            backend.detach()
        # Linux 5.10 was seen to have ours a moment longer than its last pin.
        wait_until(lambda: there(kernel.cgroup) == [other], "our link to go", 5)


def os_directory(stack: ExitStack, path: Path) -> int:
    directory = os.open(path, os.O_RDONLY)
    stack.callback(os.close, directory)
    return directory


@pytest.mark.parametrize("above", [False, True], ids=["here", "above"])
def test_fault_34_a_program_that_wants_to_be_alone_is_named(
    kernel: Kernel, others: dict[str, int], above: bool
) -> None:
    """Attached with flags 0, here or above: its id, name and place; nothing is left."""
    pod = kernel.cgroup / "pod"
    pod.mkdir()
    number = objects.program_info(others["connect4"]).id
    where = kernel.cgroup if above else pod
    with attached(others["connect4"], where, EXCLUSIVE):
        with pytest.raises(KernelError) as refused:
            Kernel(pod, kernel.bpffs).open()
        assert f"program {number} 'connect4', attached at {where}" in str(refused.value)
        assert "BPF_F_ALLOW_MULTI" in str(refused.value)
        assert "\n" not in str(refused.value)
        assert there(where) == [number]
    assert list(Pins(kernel.bpffs).root.iterdir()) == []
    Kernel(pod, kernel.bpffs).open().close()


def test_fault_35_sixty_four_programs_are_as_many_as_fit(
    kernel: Kernel, others: dict[str, int]
) -> None:
    """The error says so and names some; with one less ours gets in."""
    with ExitStack() as stack:
        directory = os_directory(stack, kernel.cgroup)
        links = [
            libbpf.link_create(others["connect4"], directory, CONNECT.hooks["connect4"])
            for _ in range(objects.MAX_PROGRAMS)
        ]
        with pytest.raises(KernelError, match=r"64 programs are attached.*'connect4'"):
            kernel.open()
        assert list(Pins(kernel.bpffs).root.iterdir()) == []
        os.close(links.pop())
        with kernel.open():
            assert len(there(kernel.cgroup)) == objects.MAX_PROGRAMS
        for link in links:
            os.close(link)


def test_fault_33_a_program_the_kernel_rejects_leaves_the_old_one(
    kernel: Kernel, servers: list[Server], tmp_path: Path
) -> None:
    """What runs goes on: it is replaced only by one that is loaded."""
    with kernel.open() as backend:
        backend.apply(table(servers))
    before = Pins(kernel.bpffs).links()
    env = next_version(tmp_path)
    source = tmp_path / "bpf" / "connect.c"
    wild = "u32 address = *(u32 *)(u64)ctx->user_ip4;"
    source.write_text(
        source.read_text().replace("u32 address = ctx->user_ip4;", wild, 1)
    )
    where = [str(kernel.cgroup), str(kernel.bpffs)]
    ended = subprocess.run(
        [sys.executable, "-c", OPEN, *where],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.startswith("LoaderError the program was not loaded"), ended
    assert len(ended.stdout.splitlines()) == 1
    assert Pins(kernel.bpffs).links() == before
    assert kernel.call(connect) == endpoint(servers[0])
    assert list(Pins(kernel.bpffs).root.iterdir()) == [Pins(kernel.bpffs).current]


OPEN = """
import sys
from consul_ebpf import BccMapBackend, ConsulEbpfError
try:
    BccMapBackend.open(cgroup=sys.argv[1], bpffs=sys.argv[2])
except ConsulEbpfError as error:
    print(type(error).__name__, error)
"""
