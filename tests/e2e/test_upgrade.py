"""Two hundred connections, and a controller that is killed, restarted and exchanged."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.kernel.codec import LAYOUT
from consul_ebpf.kernel.pins import Pins
from tests.kernel.conftest import Kernel
from tests.lab.controller import ControllerProcess
from tests.lab.live import live_echo
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_bpffs, scratch_cgroup
from tests.lab.versions import next_version

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

CONNECTIONS = 200
OLD, NEW = f"v{LAYOUT}", f"v{LAYOUT + 1}"
BLOCK = 64
"""Bytes a connection sends in a round and must get back."""
PAUSE_SECONDS = 0.05
"""Between rounds: other tests may run beside this one."""


@dataclass
class Talkers:
    """What a child process in the cgroup made of its connections, one a VIP."""

    stop: int
    answer: int

    def finish(self) -> dict[str, int]:
        """End them; return the rounds made, and the bytes sent and got back."""
        os.write(self.stop, b".")
        with os.fdopen(self.answer) as pipe:
            told: dict[str, int] = json.loads(pipe.read())
        return told


@contextmanager
def talking(kernel: Kernel) -> Iterator[Talkers]:
    """Connect to every VIP, and send and check bytes on each, again and again."""
    stop_read, stop = os.pipe()
    answer, answer_write = os.pipe()
    ready, ready_write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            (kernel.cgroup / "cgroup.procs").write_text(str(os.getpid()))
            os.set_blocking(stop_read, False)
            told = talk(stop_read, ready_write)
        except BaseException as error:  # noqa: BLE001  # told to the parent
            told = {"error": repr(error)}
        os.write(answer_write, json.dumps(told).encode())
        os._exit(0)
    for fd in (stop_read, answer_write, ready_write):
        os.close(fd)
    try:
        assert os.read(ready, 1) == b"."
        yield Talkers(stop, answer)
    finally:
        os.close(ready)
        os.close(stop)
        os.waitpid(pid, 0)


def talk(stop: int, ready: int) -> dict[str, Any]:
    """Do it until told to stop; any error ends it, and so would a byte too few."""
    sockets = [
        socket.create_connection((f"127.64.1.{n}", 8502), timeout=30)
        for n in range(1, CONNECTIONS + 1)
    ]
    rounds = sent = received = 0
    while True:
        for n, sock in enumerate(sockets):
            block = f"{n:08d}{rounds:08d}".encode() * (BLOCK // 16)
            sock.sendall(block)
            sent += len(block)
            got = b""
            while len(got) < len(block):
                data = sock.recv(len(block) - len(got))
                assert data, f"connection {n} ended in round {rounds}"
                got += data
            assert got == block
            received += len(got)
        rounds += 1
        if rounds == 1:
            os.write(ready, b".")
        try:
            os.read(stop, 1)
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
            continue
        return {"rounds": rounds, "sent": sent, "received": received}


def survive(*steps: tuple[str, dict[str, str]]) -> list[list[str]]:
    """Take these steps, each the version to start next; return the layouts found."""
    with (
        scratch_cgroup() as cgroup,
        scratch_bpffs() as bpffs,
        live_echo("127.0.18.1") as server,
    ):
        kernel = Kernel(cgroup, bpffs)
        proxies = [
            {"id": f"web-{n}", "node": "h", "vip": f"127.64.1.{n}"}
            for n in range(1, CONNECTIONS + 1)
        ]
        config = {
            "consul": {
                "source": "static",
                "addresses": [server],
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
            "proxies": proxies,
        }
        with ControllerProcess(config) as controller, talking(kernel) as talkers:

            def counted() -> tuple[int, int]:
                status = controller.status()
                assert status["kernel"]["attached"]
                (row,) = status["servers"]
                assert row["state"] == "ready"
                return row["connects"], row["active"]

            layouts = []
            for step, env in steps:
                if step == "kill":
                    controller.kill()
                else:
                    assert controller.terminate() == 0
                assert counted() == (CONNECTIONS, CONNECTIONS)
                controller.start(env=env)
                wait_until(lambda: counted() == (CONNECTIONS, CONNECTIONS), step, 5)
                found = Pins(bpffs).root.glob("v*")
                layouts.append([path.name for path in found])
            told = talkers.finish()
        assert "error" not in told, told
        print(f"{told} over {layouts}")
        assert told["sent"] == told["received"] == told["rounds"] * CONNECTIONS * BLOCK
        assert told["rounds"] > 10
    return layouts


def test_connections_survive_kill_and_restart() -> None:
    """Twice each: not one of 200 loses a byte."""
    steps: list[tuple[str, dict[str, str]]] = [("kill", {}), ("restart", {})]
    assert survive(*steps, *steps) == [[OLD]] * 4


def test_fault_46_connections_survive_an_upgrade(tmp_path: Path) -> None:
    """To another layout of the tables, then killed: the new directory alone is left."""
    newer = next_version(tmp_path)
    assert survive(("upgrade", newer), ("kill", newer)) == [[NEW], [NEW]]


def test_fault_47_connections_survive_a_downgrade(tmp_path: Path) -> None:
    """Back to the version before, and up again after a kill."""
    newer = next_version(tmp_path)
    steps = [("upgrade", newer), ("downgrade", {}), ("kill", newer), ("downgrade", {})]
    assert survive(*steps) == [[NEW], [OLD], [NEW], [OLD]]
