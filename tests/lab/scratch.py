"""Places of one's own in the kernel: a cgroup, a bpffs, a network namespace.

Names carry the lab's pid, so that what an interrupted run left can be told from
what another run is using.
"""

import ctypes
import os
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pyroute2 import IPRoute

T = TypeVar("T")

PREFIX = f"consul-ebpf-lab-{os.getpid()}-"


def mounts() -> list[str]:
    """Return the lines of /proc/self/mounts; a path in there may be any bytes."""
    return Path("/proc/self/mounts").read_text(errors="backslashreplace").splitlines()


def cgroup2_mount() -> Path | None:
    """Return where cgroup v2 is mounted, None if it is not."""
    for line in mounts():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Make a temporary directory that others may look into."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        yield Path(name)


@contextmanager
def scratch_cgroup() -> Iterator[Path]:
    """Make a child of the cgroup v2 root; at the end everything in it is killed."""
    root = cgroup2_mount()
    if root is None:
        raise FileNotFoundError("cgroup v2 is not mounted")
    path = root / f"{PREFIX}{secrets.token_hex(4)}"
    try:
        path.mkdir()
        yield path
    finally:
        if path.exists():
            remove_cgroup(path)


def remove_cgroup(path: Path) -> None:
    """Kill everything in a cgroup and remove it."""
    for child in path.iterdir():
        if child.is_dir():
            remove_cgroup(child)
    _kill_all_in(path)
    for _ in range(200):
        try:
            path.rmdir()
        except OSError:  # EBUSY until the killed ones are gone
            time.sleep(0.02)
        else:
            return
    path.rmdir()


def _kill_all_in(cgroup: Path) -> None:
    kill = cgroup / "cgroup.kill"
    if kill.exists():
        kill.write_text("1")
        return
    # A kernel before 5.14, which kills one by one.
    for pid in (cgroup / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@contextmanager
def scratch_bpffs() -> Iterator[Path]:
    """Mount a bpffs of one's own; unmounting it lets go of every pin in it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        try:
            subprocess.run(["mount", "-t", "bpf", "bpf", name], check=True)
            yield Path(name)
        finally:
            if Path(name).is_mount():  # interrupted while mounting, it may be or not
                subprocess.run(["umount", "--lazy", name], check=True)


class Netns:
    """A network namespace that lives as long as a sleeping process in it.

    Nothing is bound in /run/netns, so nothing can be left there.
    """

    def __init__(self, pid: int) -> None:
        self.path = Path(f"/proc/{pid}/ns/net")
        self.enter = ["nsenter", f"--net={self.path}", "--"]
        """Put before a command, it runs in the namespace; the pid stays the same."""

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread that is in the namespace; return its answer."""
        answers: list[T] = []
        errors: list[BaseException] = []

        def inside() -> None:
            try:
                _setns(self.path)
                answers.append(function())
            except BaseException as error:  # noqa: BLE001  # raised again below
                errors.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return answers[0]


def _setns(path: Path) -> None:
    # Not os.setns, which Python 3.11 lacks.
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY)
    try:
        if libc.setns(fd, 0):
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    finally:
        os.close(fd)


@contextmanager
def scratch_netns(addresses: Sequence[str] = ()) -> Iterator[Netns]:
    """Make a network namespace with `lo` up and these addresses on it."""
    outside = Path("/proc/self/ns/net").readlink()
    command = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "--"]
    keeper = subprocess.Popen([*command, "sleep", "infinity"], start_new_session=True)
    try:
        while Path(f"/proc/{keeper.pid}/ns/net").readlink() == outside:
            if keeper.poll() is not None:
                raise PermissionError("cannot make a network namespace")
            time.sleep(0.005)
        netns = Netns(keeper.pid)
        netns.call(lambda: _configure_lo(addresses))
        yield netns
    finally:
        keeper.kill()
        keeper.wait()


@contextmanager
def scratch_userns(inotify_instances: int) -> Iterator[list[str]]:
    """Make a user namespace whose root has so many inotify instances.

    Yields what is put before a command that is to run there, as root of the namespace.
    """
    # It ends with the lab, whose end of the pipe it reads.
    keeper = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    limit = "/proc/sys/user/max_inotify_instances"
    enter = ["nsenter", f"--user=/proc/{keeper.pid}/ns/user", "--preserve-credentials"]
    try:
        while Path(f"/proc/{keeper.pid}/comm").read_text() != "cat\n":
            if keeper.poll() is not None:
                raise PermissionError("cannot make a user namespace")
            time.sleep(0.005)
        write = ["sh", "-c", f"echo {inotify_instances} > {limit}"]
        subprocess.run([*enter, "--", *write], check=True)
        yield [*enter, "--"]
    finally:
        keeper.kill()
        keeper.communicate()


def _configure_lo(addresses: Sequence[str]) -> None:
    with IPRoute() as ip:
        (lo,) = ip.link_lookup(ifname="lo")
        ip.link("set", index=lo, state="up")
        for address in addresses:
            prefix = 128 if ":" in address else 32
            ip.addr("add", index=lo, address=address, prefixlen=prefix)
