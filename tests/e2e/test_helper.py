"""A running controller whose proxies name what is no network namespace, and its helper.

The helper's processes are found from outside: children of the controller's.
"""

import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.kernel.conftest import Kernel, connect
from tests.lab.controller import ControllerProcess
from tests.lab.live import live_server
from tests.lab.processes import wait_until
from tests.lab.scratch import Netns, scratch_bpffs, scratch_cgroup, scratch_netns

pytestmark = pytest.mark.kernel


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        yield Kernel(cgroup, bpffs)


def helpers(session: int) -> list[int]:
    """Return the processes of the helper's session that are no zombies."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(status[3]) == session and status[0] != "Z":
            found.append(int(process.name))
    return sorted(found)


def child_of(controller: int) -> int:
    """Return the controller's one child: the helper's first process."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(status[1]) == controller:
            return int(process.name)
    raise AssertionError("it has no helper")


def drop_in(directory: Path, name: str, netns: object) -> None:
    file = directory / f"{name}.toml.new"
    file.write_text(f'[[proxies]]\nid = "{name}"\nnode = "h"\nnetns = "{netns}"\n')
    file.rename(directory / f"{name}.toml")


def is_said(controller: ControllerProcess, pattern: str) -> bool:
    return re.search(pattern, controller.log()) is not None


def test_fault_99_a_netns_that_is_a_fifo_costs_that_proxy_alone(
    kernel: Kernel, tmp_path: Path
) -> None:
    """Six of them and a device: who runs goes on, who comes is served, nothing hangs;
    and a helper that is killed is there again. Killed, the controller leaves nothing.
    """
    odd = [tmp_path / f"fifo-{n}" for n in range(6)]
    for path in odd:
        os.mkfifo(path)
    odd.append(Path("/dev/zero"))
    drop_ins = tmp_path / "proxies.d"
    drop_ins.mkdir()
    with live_server("127.0.21.7") as server, scratch_netns() as netns:
        config = {
            "consul": {
                "source": "static",
                "addresses": [server],
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(kernel.cgroup), "bpffs": str(kernel.bpffs)},
            "workloads": {"directory": str(drop_ins)},
            "proxies": [{"id": "web", "node": "h", "vip": "127.64.0.1"}],
        }
        with ControllerProcess(config) as controller:
            session = child_of(controller.child.pid)
            for number, path in enumerate(odd):
                drop_in(drop_ins, f"odd-{number}", path)
            for number in range(len(odd)):
                said = rf"proxy odd-{number} .*it is a (FIFO|device) and no namespace"
                wait_until(
                    partial(is_said, controller, said),
                    f"a word about odd-{number}",
                    15,
                )
            drop_in(drop_ins, "late", netns.path)
            controller.bootstrap("late")
            host, port = kernel.call(partial(connect, "127.64.0.1"))
            assert f"{host}:{port}" == server

            for pid in helpers(session):  # one after the other
                os.kill(pid, signal.SIGKILL)
                name = f"after-{pid}"
                drop_in(drop_ins, name, fresh(netns, tmp_path, name))
                controller.bootstrap(name)
            wait_until(lambda: len(helpers(session)) == 2, "two helpers", 15)
            controller.kill()
            wait_until(lambda: not helpers(session), "no helper left", 5)


def fresh(netns: Netns, directory: Path, name: str) -> Path:
    """Name a namespace anew, so that it has to be looked at."""
    path = directory / name
    path.symlink_to(netns.path)
    return path
