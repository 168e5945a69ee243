"""Opening, restarting, closing, detaching, and each way it can be refused."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from consul_ebpf import (
    AlreadyRunningError,
    BccMapBackend,
    Binding,
    BpffsError,
    CgroupError,
    ConfigError,
    KernelError,
    NotRunningError,
    Server,
    Table,
    Vip,
)
from consul_ebpf.kernel import codec, libbpf, objects
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.pods import cgroup_of
from consul_ebpf.kernel.program import CONNECT
from tests.kernel.conftest import VIP, Kernel, connect, endpoint, rows, table
from tests.kernel.test_redirect import peers

pytestmark = pytest.mark.kernel


def test_closed_it_goes_on_redirecting(kernel: Kernel, servers: list[Server]) -> None:
    """Without any process of ours, retries too get the next server."""
    with kernel.open() as backend:
        backend.apply(table(servers))
    expected = [endpoint(server) for server in servers]
    assert kernel.call(partial(peers, 3)) == expected


def test_a_restart_keeps_tables_counters_and_cursors(
    kernel: Kernel, servers: list[Server]
) -> None:
    """The next process finds what the last one left, and counts on."""
    with kernel.open() as backend:
        backend.apply(table(servers))
        kernel.call(connect)
        before = backend.read()
    with kernel.open() as backend:
        assert backend.read() == before
        assert not backend.apply(table(servers))
        assert kernel.call(connect) == endpoint(servers[1])
        assert backend.read().vips[VIP].connects == 2


def test_a_restart_swaps_the_program_without_a_gap(
    kernel: Kernel, servers: list[Server]
) -> None:
    """Clients that connect all the time see no failure while programs take turns."""
    with kernel.open() as backend:
        backend.apply(table(servers))
    ids = {link.program_id for link in Pins(kernel.bpffs).links().values()}
    stop_after = 4.0

    receive, send = os.pipe()
    pid = os.fork()
    if not pid:
        (kernel.cgroup / "cgroup.procs").write_text(str(os.getpid()))
        done, end = 0, time.monotonic() + stop_after
        try:
            while time.monotonic() < end:
                connect()
                done += 1
        except OSError:
            done = -1
        os.write(send, str(done).encode())
        os._exit(0)
    os.close(send)
    restarts = 0
    end = time.monotonic() + stop_after - 1.5
    while time.monotonic() < end:
        # Compiled with another constant, so it is another program each time.
        kernel.open(retry_window=30.0 + restarts).close()
        restarts += 1
    with os.fdopen(receive) as pipe:
        done = int(pipe.read())
    os.waitpid(pid, 0)
    assert restarts >= 1
    assert done > 10
    after = {link.program_id for link in Pins(kernel.bpffs).links().values()}
    assert not ids & after


def attached(kernel: Kernel) -> set[int]:
    return {link.program_id for link in Pins(kernel.bpffs).links().values()}


def test_a_restart_compiles_only_what_is_not_attached(
    kernel: Kernel, servers: list[Server]
) -> None:
    """The same program stays; another constant, or another's program, is replaced."""
    with kernel.open() as backend:
        backend.apply(table(servers))
    first = attached(kernel)
    with kernel.open() as backend:
        assert attached(kernel) == first
        assert kernel.call(connect) == endpoint(servers[0])
        assert backend.mend() == ()
    with kernel.open(retry_window=20.0):
        second = attached(kernel)
    assert not first & second
    with kernel.open():  # the stamp is the second one's
        assert not (first | second) & attached(kernel)


def test_a_stamp_holds_for_its_programs_alone(
    kernel: Kernel, servers: list[Server]
) -> None:
    """If one hook has another program meanwhile, both are compiled again."""
    with kernel.open() as backend:
        backend.apply(table(servers))
    pins = Pins(kernel.bpffs)
    stamp = (pins.current / "compiled").readlink()
    with kernel.open(retry_window=20.0):
        pass
    (pins.current / "compiled").unlink()
    (pins.current / "compiled").symlink_to(stamp)  # as a version without stamps left it
    other = attached(kernel)
    with kernel.open():
        assert not other & attached(kernel)
        assert (pins.current / "compiled").readlink() == stamp
    (pins.current / "compiled").unlink()
    ours = attached(kernel)
    with kernel.open():
        assert not ours & attached(kernel)


def test_detach_removes_everything(kernel: Kernel, servers: list[Server]) -> None:
    """No pin is left, and a connect to the VIP fails at once, locally."""
    backend = kernel.open()
    backend.apply(table(servers))
    backend.detach()
    assert list(kernel.bpffs.glob("consul-ebpf*")) == []
    begun = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        kernel.call(connect)
    assert time.monotonic() - begun < 1
    with pytest.raises(NotRunningError):
        Pins(kernel.bpffs).open_tables()


def test_what_a_killed_start_left_is_cleared(
    kernel: Kernel, servers: list[Server]
) -> None:
    """A staging directory is never published, and the next start removes it."""
    with kernel.open():
        pass
    left = Pins(kernel.bpffs).staging
    Pins(kernel.bpffs).current.rename(left)  # as before the publishing
    with kernel.open() as backend:
        assert not left.exists()
        backend.apply(table(servers))
        assert kernel.call(connect) == endpoint(servers[0])
        assert backend.read().vips[VIP].connects == 1  # by one program, not by two


def test_a_link_that_was_never_published_is_let_go(
    kernel: Kernel, servers: list[Server]
) -> None:
    """One left by a start killed before its rename would stay attached for good."""
    with kernel.open() as backend:
        backend.apply(table(servers))
    left = Pins(kernel.bpffs).current / "connect4-new"
    program = objects.program_fd(Pins(kernel.bpffs).links()["connect4"].program_id)
    cgroup = os.open(kernel.cgroup, os.O_RDONLY)
    link = libbpf.link_create(program, cgroup, CONNECT.hooks["connect4"])
    libbpf.obj_pin(link, left)
    for fd in (program, cgroup, link):
        os.close(fd)
    with kernel.open():
        assert not left.exists()
        assert kernel.call(connect) == endpoint(servers[0])


def test_a_second_controller_is_told_who_holds_the_host(kernel: Kernel) -> None:
    """It ends without a write, naming the pid."""
    with kernel.open(), pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}"):
        kernel.open()


def test_another_cgroup_takes_the_place_of_the_old(
    kernel: Kernel, servers: list[Server]
) -> None:
    """A changed kernel.cgroup attaches there, and no longer at the old one."""
    with kernel.open() as backend:
        backend.apply(table(servers))
    child = kernel.cgroup / "child"
    child.mkdir()
    moved = Kernel(child, kernel.bpffs)
    with moved.open():
        with pytest.raises(ConnectionRefusedError):
            kernel.call(connect)
        assert moved.call(connect) == endpoint(servers[0])


def test_fault_105_odd_mounts_and_paths_do_not_matter(
    kernel: Kernel, servers: list[Server], tmp_path: Path
) -> None:
    """A mount point that is not UTF-8, and one that is not ASCII; the cgroup by a link
    and `..`; a proxy's cgroup likewise."""
    pod = kernel.cgroup / "pod"
    pod.mkdir()
    link = tmp_path / "link"
    link.symlink_to(pod)
    with ExitStack() as stack:
        for name in (b"m\xe9", "m\N{LATIN SMALL LETTER E WITH ACUTE} \n\\".encode()):
            point = os.fsencode(tmp_path) + b"/" + name
            os.mkdir(point)  # noqa: PTH102  # bytes
            subprocess.run([b"mount", b"-t", b"tmpfs", b"odd", point], check=True)
            stack.callback(subprocess.run, [b"umount", point], check=True)
        odd = Kernel(link / "..", kernel.bpffs)
        with odd.open() as backend:
            number, level = cgroup_of(str(link / ".." / "pod"))
            backend.apply(
                replace(
                    table(servers), bindings={VIP: Binding(cgroup=number, level=level)}
                )
            )
            assert backend.cgroup == kernel.cgroup
            assert backend.mend() == ()
            assert Kernel(pod, kernel.bpffs).call(connect) == endpoint(servers[0])


def test_fault_30_another_capacity_takes_what_is_there_along(
    kernel: Kernel, servers: list[Server]
) -> None:
    """Larger or smaller; too small for what is there is refused, changing nothing."""
    three = Table(rows(servers), {Vip(VIP.address + n, 8502): (0, 1) for n in range(3)})
    with kernel.open(max_proxies=10) as backend:
        backend.apply(three)
        kernel.call(connect)
        before = backend.read()
    for capacity in (20, 3):
        with kernel.open(max_proxies=capacity) as backend:
            assert backend.capacity == capacity
            assert backend.read() == replace(before, capacity=capacity)
    with pytest.raises(ConfigError, match=r"max_proxies is 2, but 3 proxies"):
        kernel.open(max_proxies=2)
    assert kernel.call(connect) == endpoint(servers[1])
    assert [path.name for path in Pins(kernel.bpffs).root.iterdir()] == [
        Pins(kernel.bpffs).current.name
    ]


def test_a_missing_bpffs_is_named(kernel: Kernel, tmp_path: Path) -> None:
    """With the command that mounts one; nothing was made meanwhile."""
    with pytest.raises(BpffsError, match=f"mount -t bpf bpf {tmp_path}"):
        BccMapBackend.open(cgroup=str(kernel.cgroup), bpffs=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/proc", "/no/such/cgroup"])
def test_a_wrong_cgroup_is_named(kernel: Kernel, path: str) -> None:
    """Not cgroup v2, or not there at all."""
    with pytest.raises(CgroupError, match=path):
        BccMapBackend.open(cgroup=path, bpffs=str(kernel.bpffs))


def run_backend(kernel: Kernel, *prefix: str) -> subprocess.CompletedProcess[str]:
    """Open a backend in another process; it prints an error's class and text."""
    code = (
        "import sys; from consul_ebpf import BccMapBackend, ConsulEbpfError\n"
        "try: BccMapBackend.open(cgroup=sys.argv[1], bpffs=sys.argv[2]).close()\n"
        "except ConsulEbpfError as error: print(type(error).__name__, error)"
    )
    arguments = [sys.executable, "-c", code, str(kernel.cgroup), str(kernel.bpffs)]
    return subprocess.run(
        [*prefix, *arguments], capture_output=True, text=True, check=False
    )


def test_a_missing_privilege_is_named(kernel: Kernel) -> None:
    """Without capabilities the error names them; nothing stays behind."""
    bare = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    ended = run_backend(kernel, *bare)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("PrivilegeError ")
    assert "CAP_SYS_ADMIN" in ended.stdout
    assert list(kernel.bpffs.glob("consul-ebpf/*")) == []


@pytest.mark.parametrize(
    ("mounting", "told"),
    [
        ("umount {0} && mount -t cgroup2 none {0}", "cgroup namespace"),
        ("umount {0}", "cgroup v2 is not mounted: mount -t cgroup2"),
    ],
)
def test_a_host_without_a_true_cgroup_root_is_noticed(
    kernel: Kernel, mounting: str, told: str
) -> None:
    """`auto` takes no other root, and the error says what to do."""
    code = (
        "from consul_ebpf.kernel.host import find_cgroup\n"
        "try: print(find_cgroup('auto'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    namespace = ["unshare", "--cgroup", "--mount"]
    (mount,) = {
        line.split()[1]
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if line.split()[2] == "cgroup2"
    }
    inside = f'{mounting.format(mount)} && exec "{sys.executable}" -c "$1"'
    enter = f'echo $$ > {kernel.cgroup}/cgroup.procs && exec "$@"'
    ended = subprocess.run(
        ["sh", "-c", enter, "sh", *namespace, "sh", "-c", inside, "sh", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.startswith("CgroupError "), ended
    assert told in ended.stdout


def test_the_controller_maps_no_llvm(kernel: Kernel) -> None:
    """BCC was in a child that has ended."""
    with kernel.open() as backend:
        backend.apply(Table(rows([Server.at("127.0.0.1", 1)]), {VIP: (0,)}))
        maps = Path("/proc/self/maps").read_text()
    assert "libbpf" in maps
    assert "LLVM" not in maps
    assert "libbcc" not in maps


def test_fault_45_the_lock_lasts_as_long_as_any_descriptor_of_it(
    kernel: Kernel,
) -> None:
    """A dead holder's child that inherited it holds the host, until it ends."""
    backend = kernel.open()
    heir = os.fork()
    if not heir:
        time.sleep(60)
        os._exit(0)
    try:
        backend.close()
        with pytest.raises(AlreadyRunningError):
            kernel.open()
    finally:
        os.kill(heir, signal.SIGKILL)
        os.waitpid(heir, 0)
    kernel.open().close()


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(libbpf.MapShape(libbpf.HASH, 4, 4, 1), id="another size"),
        pytest.param(libbpf.MapShape(libbpf.ARRAY, 4, 64, 1), id="another type"),
        None,
    ],
)
def test_fault_48_what_is_no_table_of_ours_is_put_aside(
    kernel: Kernel,
    servers: list[Server],
    caplog: pytest.LogCaptureFixture,
    foreign: libbpf.MapShape | None,
) -> None:
    """A map of another shape, or a link: tables are made anew from those in use."""
    with kernel.open() as backend:
        backend.apply(table(servers))
        kernel.call(connect)
        before = backend.read()
    pins = Pins(kernel.bpffs)
    pin = pins.current / "vips"
    pin.unlink()
    if foreign is None:
        fd = libbpf.obj_get(pins.current / "connect4")
    else:
        fd = libbpf.map_create("foreign", foreign)
    libbpf.obj_pin(fd, pin)
    os.close(fd)
    with kernel.open() as backend:
        assert backend.read() == before
        assert kernel.call(connect) == endpoint(servers[1])
        assert backend.mend() == ()
    assert pins.aside.exists()
    (record,) = [each for each in caplog.records if hasattr(each, "event")]
    assert record.__dict__["event"] == "state_ignored"
    with kernel.open() as backend:  # what is aside is in nobody's way
        assert kernel.call(connect) == endpoint(servers[2])
        backend.detach()
    assert not pins.root.exists()


def test_fault_74_a_batch_that_fails_midway_is_made_good(
    kernel: Kernel, servers: list[Server]
) -> None:
    """The error is the entry's own, and the next apply reads what is there."""
    with kernel.open(max_proxies=4) as backend:
        backend.apply(table(servers))
        stranger = codec.encode_key(Vip(VIP.address + 99, 1))
        backend._vips.update(stranger, codec.encode_vip((0,)))  # somebody's scribble
        full = {Vip(VIP.address + n, 8502): (0, 1, 2) for n in range(4)}
        with pytest.raises(KernelError, match="trying again"):
            backend.apply(Table(rows(servers), full))
        backend.apply(Table(rows(servers), full))
        assert backend.read().table.vips == full
