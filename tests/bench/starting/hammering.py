"""Connects to a place once a millisecond, and to another less often.

In a process of its own: `Hammer` starts it, in a cgroup.
"""

import contextlib
import json
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.lab.held import Held
from tests.lab.processes import Child, LabError, wait_until
from tests.lab.scratch import scratch_directory

EACH_SECONDS = 0.001
OTHER_TURN = 5
"""The second place is connected to each so many milliseconds."""
PATIENCE_SECONDS = 5.0
LATE_SECONDS = 0.05
"""A connect that takes longer is late."""

Target = tuple[str, int]


class Sample(NamedTuple):
    """One connect: when it began (`time.monotonic`), and how it went."""

    begun: float
    took: float
    failed: bool


class Hammer(Held):
    """Connects to two places from a cgroup, until `finish`."""

    def __init__(self, cgroup: Path, first: Target, second: Target) -> None:
        self._cgroup, self._targets = cgroup, (first, second)

    def hold(self, stack: ExitStack) -> None:
        """Start it, and wait for its first connect."""
        directory = stack.enter_context(scratch_directory())
        self._stop = directory / "stop"
        words = [str(word) for target in self._targets for word in target]
        command = [sys.executable, "-m", "tests.bench.starting.hammering"]
        self._child = Child(
            "hammer",
            [*command, str(self._stop), *words],
            directory,
            cgroup=self._cgroup,
        )
        stack.callback(self._child.kill)
        wait_until(lambda: self._child.stdout.stat().st_size > 0, "first connects", 10)

    def finish(self) -> list[list[Sample]]:
        """Stop; return the connects to each place.

        Raises:
            LabError: it ended before, or does not end.
        """
        self._child.must_run()
        self._stop.touch()
        if self._child.wait(30):
            raise LabError(f"connects ended: {self._child.last_words()}")
        _, found = self._child.stdout.read_text().splitlines()
        return [[Sample(*each) for each in samples] for samples in json.loads(found)]


def main() -> None:
    """Connect until the file named first is there; then print all samples."""
    stop, *words = sys.argv[1:]
    first, second = zip(words[::2], map(int, words[1::2]), strict=True)
    found: tuple[list[Sample], list[Sample]] = ([], [])
    due = time.monotonic()
    while not Path(stop).exists():
        if len(found[0]) % OTHER_TURN == 0:
            found[1].append(connect(second))
        found[0].append(connect(first))
        if len(found[0]) == 1:
            print("begun", flush=True)
        due = max(due + EACH_SECONDS, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
    json.dump(found, sys.stdout)


def connect(target: Target) -> Sample:
    """Connect once."""
    begun, failed = time.monotonic(), True
    with socket.socket() as sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(target)
        failed = False
    return Sample(begun, time.monotonic() - begun, failed)


if __name__ == "__main__":
    main()
