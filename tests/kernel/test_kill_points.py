"""kill -9 at every step that changes something; the next start goes on from there.

Each step is a fail point (consul_ebpf/base/steps.py). They are counted by a run that is
not killed, so a new one is tried without a word here: all of them in `nox -s long`, a
third of them, drawn by a printed seed, in every other run.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from consul_ebpf.kernel import objects
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT
from tests.kernel import scenario
from tests.kernel.conftest import Kernel, connect, listening
from tests.kernel.scenario import SERVERS, TABLES, VIPS
from tests.lab.long import sample
from tests.lab.versions import next_version

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600), pytest.mark.slow]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[None]:
    with ExitStack() as stack:
        for address in SERVERS:
            stack.enter_context(listening(address, scenario.PORT))
        yield


def run(
    kernel: Kernel, *, kill_at: int, begin: int = 0, env: dict[str, str] | None = None
) -> tuple[int, list[str]]:
    """Run the scenario, killed at a step; return its exit code and its steps."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.lab.killer", str(kill_at)),
            *("tests.kernel.scenario", str(begin)),
            *(str(kernel.cgroup), str(kernel.bpffs)),
        ],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, re.findall(r"^step \d+: (.+)$", ended.stderr, re.MULTILINE)


def to_kill(steps: list[str]) -> list[int]:
    """Return the numbers of the steps to kill at, from 1."""
    return sample(range(1, len(steps) + 1), 2 + len(steps) // 3)


def attached(kernel: Kernel) -> list[int]:
    """Return how many programs are attached at each hook."""
    cgroup = os.open(kernel.cgroup, os.O_RDONLY)
    try:
        return [
            len(objects.programs_at(cgroup, kind)[0]) for kind in CONNECT.hooks.values()
        ]
    finally:
        os.close(cgroup)


def reached(kernel: Kernel, vip: int, attempts: int = 2) -> set[str]:
    """Return the servers a VIP leads to; empty if it fails locally."""
    found = set()
    for _ in range(attempts):
        try:
            peer = kernel.call(partial(connect, str(VIPS[vip].address)))
        except (ConnectionRefusedError, PermissionError):
            continue
        found.add(peer[0])
    return found


def converges(kernel: Kernel, env: dict[str, str] | None = None) -> None:
    """A new start ends in the last table, with one program at each hook and no rest."""
    code, _ = run(kernel, kill_at=0, begin=1, env=env)
    assert code == 0
    assert attached(kernel) == [1, 1]
    assert reached(kernel, 0) == reached(kernel, 2) == {SERVERS[2]}
    assert reached(kernel, 1) == set()
    pins = Pins(kernel.bpffs)
    assert len(list(pins.root.iterdir())) == 1
    directory = pins.found()
    assert directory is not None
    assert {path.name for path in directory.iterdir()} == {
        *("servers", "vips", "compiled"),
        *CONNECT.hooks,
    }


def test_fault_40_killed_at_every_step_of_a_first_start(kernel: Kernel) -> None:
    """What is visible is nothing or a whole table; the next start converges."""
    code, steps = run(kernel, kill_at=0)
    assert code == 0
    assert len(steps) > 15
    print(f"{len(steps)} steps: {steps}")
    Pins(kernel.bpffs).remove()
    for number in to_kill(steps):
        code, _ = run(kernel, kill_at=number)
        assert code == -signal.SIGKILL, steps[number - 1]
        for vip in range(3):
            assert reached(kernel, vip) <= set(SERVERS)
        converges(kernel)
        Pins(kernel.bpffs).remove()


def test_fault_40_killed_at_every_step_of_a_restart_and_an_apply(
    kernel: Kernel,
) -> None:
    """A VIP that is in the old and in the new table leads to a server all the time."""
    code, first = run(kernel, kill_at=0)
    assert code == 0
    with kernel.open(max_proxies=100) as backend:
        backend.apply(TABLES[0])
    code, steps = run(kernel, kill_at=0, begin=1)
    assert code == 0
    assert len(steps) < len(first)
    print(f"{len(steps)} steps: {steps}")
    for number in to_kill(steps):
        with kernel.open(max_proxies=100) as backend:
            backend.apply(TABLES[0])
        code, _ = run(kernel, kill_at=number, begin=1)
        assert code == -signal.SIGKILL, steps[number - 1]
        assert reached(kernel, 0), steps[number - 1]
        assert attached(kernel) == [1, 1]
        converges(kernel)


def test_fault_41_killed_at_every_step_of_an_upgrade(
    kernel: Kernel, tmp_path: Path
) -> None:
    """Also between the two link updates: both programs' tables are whole.

    The next start is in turn the new version's and, as a rollback, the old one's.
    """
    newer = next_version(tmp_path)
    with kernel.open(max_proxies=100) as backend:
        backend.apply(TABLES[0])
    code, steps = run(kernel, kill_at=0, begin=1, env=newer)
    assert code == 0
    print(f"{len(steps)} steps: {steps}")
    assert steps.count("update a link") == 2
    for number in to_kill(steps):
        with kernel.open(max_proxies=100) as backend:
            backend.apply(TABLES[0])
        code, _ = run(kernel, kill_at=number, begin=1, env=newer)
        assert code == -signal.SIGKILL, steps[number - 1]
        assert reached(kernel, 0), steps[number - 1]
        assert attached(kernel) == [1, 1]
        converges(kernel, newer if number % 2 else None)
