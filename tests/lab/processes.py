"""Child processes that cannot outlive the lab, and waiting for what they do."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tests.lab.scratch import Netns

T = TypeVar("T")

POLL_SECONDS = 0.02
"""Seconds between two looks at something awaited."""


class LabError(Exception):
    """A real part did not do what the lab needs; says which, and its last words."""


def wait_until(look: Callable[[], T], what: str, timeout: float = 30.0) -> T:
    """Return the first true answer of `look`; OSErrors count as "not yet".

    A look that takes long, such as a command, is given as long a pause.

    Raises:
        LabError: `what` did not happen within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    last: OSError | None = None
    while True:
        begun = time.monotonic()
        try:
            if answer := look():
                return answer
        except OSError as error:
            last = error
        now = time.monotonic()
        if now > deadline:
            because = f" (last error: {last})" if last else ""
            raise LabError(f"{what}: not within {timeout:g} s{because}")
        time.sleep(max(POLL_SECONDS, now - begun))


def pss_of(pid: int) -> float:
    """Return a process's share of the memory, in MB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) / 1024


def with_children(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += with_children(int(child))
    return found


def inotify_instances(pid: int) -> int:
    """Count the inotify instances that a process holds."""
    count = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += str(file.readlink()) == "anon_inode:inotify"
    return count


class Child:
    """One child process. Its output goes to `<directory>/<name>.{stdout,stderr}`.

    Killed by the kernel when the lab's process ends (more exactly: the thread that
    started it, so start children from the main thread). In a session of its own, so
    that Ctrl-C reaches the lab, which ends its children in order.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        directory: Path,
        *,
        cgroup: Path | None = None,
        netns: Netns | None = None,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.stdout = directory / f"{name}.stdout"
        self.stderr = directory / f"{name}.stderr"
        # Each of these execs the next, so the pid is the program's own. Parentage
        # first: should the lab die meanwhile, the rest of the chain dies too.
        command: list[str | Path] = [*before, "setpriv", "--pdeathsig", "KILL", "--"]
        if cgroup:
            join = 'echo 0 > "$0/cgroup.procs" && exec "$@"'
            command += ["sh", "-c", join, cgroup]
        if netns:
            command += netns.enter
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            self._process = subprocess.Popen(
                [*command, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def __repr__(self) -> str:
        state = "running" if self.running else f"ended {self._process.returncode}"
        return f"<Child {self.name} {self.pid} {state}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is still somebody to send it to."""
        self._process.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP, and wait for it: its sockets still accept, nothing answers."""
        self.signal(signal.SIGSTOP)
        wait_until(self._is_stopped, "every thread stopped")

    def _is_stopped(self) -> bool:
        tasks = Path(f"/proc/{self.pid}/task").glob("*/stat")
        states = [task.read_text().rpartition(")")[2].split()[0] for task in tasks]
        return not set(states) - set("TtZX")

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait for the end. Nothing to do if it has ended."""
        self._process.kill()
        self._process.wait()

    def terminate(self, timeout: float = 10.0) -> int:
        """SIGTERM, wait for the end, return the exit code (-N: by signal N).

        Raises:
            LabError: it did not end within `timeout` seconds; it is killed then.
        """
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for the end and return the exit code, as `terminate`."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise LabError(f"{self.name} did not end within {timeout:g} s") from None

    def must_run(self) -> None:
        """Raise a LabError with its last words if it has ended."""
        if not self.running:
            code = self._process.returncode
            raise LabError(f"{self.name} ended with {code}: {self.last_words()}")

    def last_words(self, lines: int = 8) -> str:
        """Return the last lines it wrote to stderr, or else to stdout."""
        text = self.stderr.read_text(errors="replace").strip()
        text = text or self.stdout.read_text(errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:])
