"""The watchdog: what others take away is back at the next look, and was never missed
by a connect that the kernel could still redirect."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consul_ebpf import BccMapBackend, KernelError, Server
from consul_ebpf.kernel import capabilities, libbpf
from consul_ebpf.kernel.codec import LAYOUT
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT
from consul_ebpf.kernel.unprivileged import to_keep_here
from tests.kernel.conftest import VIP, Kernel, connect, endpoint, table

pytestmark = pytest.mark.kernel


def detach(bpffs: Path, hook: str) -> None:
    """Sever a pinned link as `bpftool link detach` does."""
    link = libbpf.obj_get(Pins(bpffs).current / hook)
    assert libbpf.lib().bpf_link_detach(link) == 0
    os.close(link)


def still_works(
    kernel: Kernel, backend: BccMapBackend, servers: list[Server], *told: str
) -> None:
    """The next look mends, in these words; then all is in place and redirects."""
    mended = backend.mend()
    assert len(mended) == len(told), mended
    for line, words in zip(mended, told, strict=True):
        assert words in line
    assert backend.mend() == ()
    links = Pins(kernel.bpffs).links()
    assert len(links) == 2
    assert {link.cgroup_id for link in links.values()} == {kernel.cgroup.stat().st_ino}
    assert kernel.call(connect) in map(endpoint, servers)


@pytest.fixture
def backend(kernel: Kernel, servers: list[Server]) -> BccMapBackend:
    opened = kernel.open()
    opened.apply(table(servers))
    return opened


def test_fault_36_a_link_detached_by_another_tool_is_attached_again(
    kernel: Kernel, backend: BccMapBackend, servers: list[Server]
) -> None:
    """One hook or both; meanwhile the VIP fails locally."""
    detach(kernel.bpffs, "connect4")
    with pytest.raises(ConnectionRefusedError):
        kernel.call(connect)
    still_works(kernel, backend, servers, "connect4", "pin of connect4")
    for hook in CONNECT.hooks:
        detach(kernel.bpffs, hook)
    still_works(
        kernel, backend, servers, "connect4", "connect6", "of connect4", "of connect6"
    )
    backend.close()


def test_fault_36_a_link_given_another_program_gets_ours_back(
    kernel: Kernel, backend: BccMapBackend, servers: list[Server]
) -> None:
    """A tool that means well updates our link."""
    link = libbpf.obj_get(Pins(kernel.bpffs).current / "connect4")
    with another_program(kernel) as other:
        libbpf.link_update(link, other)
    os.close(link)
    still_works(kernel, backend, servers, "another program")
    backend.close()


@contextmanager
def another_program(kernel: Kernel) -> Iterator[int]:
    """Load ours once more, elsewhere, as another connect4 program."""
    cgroup, bpffs = kernel.cgroup / "elsewhere", kernel.bpffs / "elsewhere"
    cgroup.mkdir()
    bpffs.mkdir()
    with Kernel(cgroup, bpffs).open(max_proxies=1) as backend:
        yield backend._installed.programs["connect4"]
        Pins(bpffs).remove()
    bpffs.rmdir()
    cgroup.rmdir()


def _one_pin(root: Path) -> None:
    (root / Pins(root.parent).current.name / "vips").unlink()


def _links(root: Path) -> None:
    for hook in CONNECT.hooks:
        (root / Pins(root.parent).current.name / hook).unlink()


@pytest.mark.parametrize(
    ("remove", "lines"),
    [
        pytest.param(_one_pin, 1, id="a table"),
        pytest.param(_links, 2, id="the links"),
        pytest.param(
            lambda root: shutil.rmtree(root / f"v{LAYOUT}"), 4, id="the version"
        ),
        pytest.param(shutil.rmtree, 5, id="everything"),
    ],
)
def test_fault_39_removed_pins_are_back_and_nothing_was_missed(
    kernel: Kernel,
    backend: BccMapBackend,
    servers: list[Server],
    remove: Callable[[Path], None],
    lines: int,
) -> None:
    """The controller holds what was pinned: redirecting never stops."""
    remove(Pins(kernel.bpffs).root)
    assert kernel.call(connect) == endpoint(servers[0])
    still_works(kernel, backend, servers, *[""] * lines)
    backend.close()
    with kernel.open() as again:  # and a restart finds it all
        assert again.read().table.vips == table(servers).vips
        assert again.read().vips[VIP].connects == 2


def test_fault_39_a_foreign_pin_in_our_place_is_replaced(
    kernel: Kernel, backend: BccMapBackend, servers: list[Server]
) -> None:
    """It has our name and is not our table."""
    pin = Pins(kernel.bpffs).current / "vips"
    pin.unlink()
    fd = libbpf.map_create("foreign", libbpf.MapShape(libbpf.HASH, 4, 4, 1))
    libbpf.obj_pin(fd, pin)
    os.close(fd)
    still_works(kernel, backend, servers, "the pin of vips")
    backend.close()


def test_fault_38_a_bpffs_mounted_anew_gets_our_pins(
    kernel: Kernel, backend: BccMapBackend, servers: list[Server]
) -> None:
    """Unmounted: said, with what to do, and redirecting goes on; mounted: pinned."""
    subprocess.run(["umount", "--lazy", kernel.bpffs], check=True)
    with pytest.raises(KernelError, match=f"mount -t bpf bpf {kernel.bpffs}"):
        backend.mend()
    assert kernel.call(connect) == endpoint(servers[0])
    subprocess.run(["mount", "-t", "bpf", "bpf", kernel.bpffs], check=True)
    still_works(kernel, backend, servers, "was gone", *["pinned it again"] * 4)
    backend.close()


def test_fault_37_a_cgroup_removed_and_made_again_is_attached_to(
    kernel: Kernel, servers: list[Server]
) -> None:
    """While it is gone that is said; its processes are gone with it."""
    pod = kernel.cgroup / "pods"
    pod.mkdir()
    there = Kernel(pod, kernel.bpffs)
    with there.open() as backend:
        backend.apply(table(servers))
        assert there.call(connect) == endpoint(servers[0])
        pod.rmdir()
        with pytest.raises(KernelError, match=f"{pod}, where .* is gone"):
            backend.mend()
        pod.mkdir()
        still_works(
            there,
            backend,
            servers,
            "connect4",
            "connect6",
            "of connect4",
            "of connect6",
        )


def test_mending_needs_no_capability(
    kernel: Kernel, backend: BccMapBackend, servers: list[Server]
) -> None:
    """By the descriptors that are held: as after the start, without any privilege but
    what an old kernel demands of every bpf() call."""
    demanded = to_keep_here()
    detach(kernel.bpffs, "connect6")
    (Pins(kernel.bpffs).current / "servers").unlink()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            capabilities.keep_only(demanded)
            code = 0 if len(backend.mend()) == 3 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert kernel.call(connect) == endpoint(servers[0])
    backend.close()
