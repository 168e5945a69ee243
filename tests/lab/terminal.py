"""A program on a terminal of its own: keys are typed, its screen is read."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from tests.lab.held import Held
from tests.lab.processes import LabError

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class Terminal(Held):
    """Runs a command on a pseudo-terminal."""

    def __init__(
        self,
        argv: Sequence[str],
        rows: int = 40,
        columns: int = 150,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._argv = argv
        self._size = struct.pack("HHHH", rows, columns, 0, 0)
        self._env = {"TERM": "xterm-256color", **(env or {})}
        self._seen = ""
        self.drawn = b""
        """All that was drawn, with its codes."""

    def hold(self, stack: ExitStack) -> None:
        """Start it."""
        self._ours, theirs = pty.openpty()
        stack.callback(os.close, self._ours)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, self._size)
        self.child = subprocess.Popen(
            ["setsid", "--ctty", *self._argv],  # so Ctrl-C is a signal
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **self._env},
        )
        stack.callback(os.close, theirs)
        self._theirs = theirs
        self._modes = self.modes
        stack.callback(self.child.wait)
        stack.callback(self.child.kill)

    @property
    def modes(self) -> list[object]:
        """How the terminal treats keys, as of `termios`."""
        return list(termios.tcgetattr(self._theirs))

    def resize(self, rows: int, columns: int) -> None:
        """Give it another size, and say so to the program."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, size)
        self.child.send_signal(signal.SIGWINCH)

    def is_as_before(self) -> bool:
        """Whether the program left the terminal as it found it."""
        shown = self.drawn.rpartition(b"\x1b[?1049h")[2]
        hidden = self.drawn.rpartition(b"\x1b[?25l")[2]
        left = b"\x1b[?1049l" in shown and b"\x1b[?25h" in hidden
        return left and self.modes == self._modes

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str, timeout: float = 10.0) -> str:
        """Wait until a text was drawn; return what was, without the codes.

        What was drawn before it counts no more for the next wait.

        Raises:
            LabError: it did not come; the last of what was drawn is in the message.
        """
        deadline = time.monotonic() + timeout
        while text not in self._seen:
            if time.monotonic() > deadline or not self._read(0.1):
                ended = f"; it ended with {self.child.poll()}"
                raise LabError(f"{text!r} was not drawn{ended}: {self._seen[-3000:]}")
        before, _, self._seen = self._seen.partition(text)
        return before + text

    def end(self, timeout: float = 10.0) -> int:
        """Read until it has ended; return its exit code."""
        deadline = time.monotonic() + timeout
        while self.child.poll() is None and time.monotonic() < deadline:
            self._read(0.1)
        code = self.child.wait(timeout=1)
        while select.select([self._ours], [], [], 0)[0] and self._read(0):
            pass
        return code

    def _read(self, patience: float) -> bool:
        """Read what was drawn; False: the program has closed the terminal."""
        if select.select([self._ours], [], [], patience)[0]:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return False
            self.drawn += data
            self._seen += _CODES.sub("", data.decode("utf-8", "replace"))
        return True
