"""The privileged helper: nothing it is asked hangs it, and it is there when it should.

Its processes are looked at from outside, by their ids.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from consul_ebpf import KernelError
from consul_ebpf.kernel.guards import HelperError
from consul_ebpf.kernel.helper import Helper
from consul_ebpf.kernel.namespaces import HelperNamespaces
from tests.kernel.conftest import needs_netns_cookies
from tests.lab.processes import pss_of, wait_until

pytestmark = pytest.mark.kernel

OURS = "/proc/self/ns/net"


@pytest.fixture
def namespaces() -> Iterator[HelperNamespaces]:
    made = HelperNamespaces.start()
    yield made
    made.close()


@pytest.fixture
def helper(namespaces: HelperNamespaces) -> Helper:
    return namespaces.helper


def is_gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def forks_of(pids: list[int]) -> list[int]:
    """Return the processes that answer requests: children of the guards."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) in pids and int(process.name) not in pids:
            found.append(int(process.name))
    return found


def fifo(directory: Path) -> Path:
    path = directory / "fifo"
    os.mkfifo(path)
    return path


def link(directory: Path) -> Path:
    path = directory / "link"
    path.symlink_to(fifo(directory))
    return path


def file(directory: Path) -> Path:
    path = directory / "file"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (fifo, "it is a FIFO"),
        (link, "it is a FIFO"),
        (file, "it is a regular file"),
        (lambda directory: directory, "it is a directory"),
        (lambda _: Path("/dev/zero"), "it is a device"),
        (lambda _: Path("/proc/self/ns/mnt"), "a namespace of another kind"),
        (lambda _: Path("/proc/self/status"), "it is a regular file"),
        (lambda directory: directory / "m\udce9", "No such file"),
        (lambda directory: directory / "\ud800", "Unicode"),
        (lambda directory: directory / "a\0b", "null "),
    ],
)
@needs_netns_cookies
def test_fault_99_what_is_no_network_namespace_is_refused_by_name(
    namespaces: HelperNamespaces,
    tmp_path: Path,
    make: Callable[[Path], Path],
    what: str,
) -> None:
    """At once and in one line; it is not opened, and the next is answered."""
    begun = time.monotonic()
    with pytest.raises(KernelError, match=what) as refused:
        namespaces.cookie(str(make(tmp_path)))
    assert time.monotonic() - begun < 1
    assert str(refused.value).isprintable()
    assert namespaces.cookie(OURS)


@needs_netns_cookies
def test_fault_100_a_request_that_hangs_is_ended_at_its_deadline(
    helper: Helper, namespaces: HelperNamespaces
) -> None:
    """Meanwhile others are answered, and afterwards no process is left."""
    failed: list[HelperError] = []

    def ask() -> None:
        try:
            helper.ask("established", seconds=1.0)
        except HelperError as error:
            failed.append(error)

    before = set(forks_of(helper.pids))
    stopped = 0
    for _ in range(200):  # until one was caught at work, and not after its answer
        thread = threading.Thread(target=ask)
        thread.start()
        stopped = 0
        while thread.is_alive() and not stopped:
            for pid in set(forks_of(helper.pids)) - before:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    stopped = pid
        if stopped:
            assert namespaces.cookie(OURS)
        thread.join()
        if failed:
            break
        if stopped:
            with suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGCONT)
    assert "no answer within" in str(failed[0]) or "begin" in str(failed[0])
    wait_until(lambda: is_gone(stopped), "the end of what hung", 5)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("which", [0, 1])
@needs_netns_cookies
def test_fault_101_a_helper_that_is_dead_or_stuck_is_replaced(
    helper: Helper,
    namespaces: HelperNamespaces,
    which: int,
    number: signal.Signals,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Again and again; the other one forks it, with the same capabilities; it is said
    once each time."""
    for _ in range(3):
        pid = helper.pids[which]
        os.kill(pid, number)
        for _ in helper.pids:  # they take turns
            assert namespaces.cookie(OURS)
        wait_until(partial(is_gone, pid), "its end", 5)
        assert len(set(helper.pids)) == 2
        assert {capabilities_of(pid) for pid in helper.pids} == {KEPT}
    assert [each.__dict__["event"] for each in caplog.records] == 3 * ["mended"]


@needs_netns_cookies
def test_fault_66_without_descriptors_the_helper_stays(
    helper: Helper, namespaces: HelperNamespaces
) -> None:
    """A request then fails in one line, and no guard is taken for dead."""
    before = helper.pids
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    try:
        for more in range(6):
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, hard))
            with suppress(KernelError):
                assert namespaces.cookie(OURS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sorted(helper.pids) == sorted(before)
    assert namespaces.cookie(OURS)


def test_a_helper_of_which_nothing_is_left_says_so(
    helper: Helper, namespaces: HelperNamespaces
) -> None:
    """The tables stay true without it."""
    for pid in helper.pids:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(KernelError, match=r"has ended.*restart the controller"):
        namespaces.cookie(OURS)


KEPT = f"{1 << 12 | 1 << 19 | 1 << 21:016x}"


def capabilities_of(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    wanted = {"CapEff", "CapPrm", "CapBnd"}
    (bits,) = {line.split()[1] for line in status.splitlines() if line[:6] in wanted}
    return bits


def test_the_helper_keeps_three_capabilities_and_is_small(
    helper: Helper, namespaces: HelperNamespaces
) -> None:
    """Its processes are the only ones that are still privileged."""
    namespaces.destroy([])
    total = 0.0
    for pid in helper.pids:
        assert capabilities_of(pid) == KEPT
        total += pss_of(pid)
    print(f"the helper: {total:.1f} MB PSS")
    assert total < 12


WAITING = """
import sys, threading, time
from consul_ebpf.kernel.helper import Helper
helper = Helper.start()
print(*helper.pids, flush=True)
asked = threading.Thread(
    target=lambda: helper.ask("destroy", [], seconds=50), daemon=True
)
asked.start()
time.sleep(60)
"""


def test_fault_101_no_helper_outlives_its_controller() -> None:
    """Even when that is killed; nor do the forks that answer a request."""
    parent = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    guards = [int(pid) for pid in parent.stdout.readline().split()]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for pid in guards:
        wait_until(partial(is_gone, pid), "the helper's end", 10)
    assert not forks_of(guards)
