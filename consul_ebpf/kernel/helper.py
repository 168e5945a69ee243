"""`Helper`: asks small privileged processes, and gives each request a deadline.

A guard (`namespaces_child.py`) forks a process for each request. So a request that
hangs or takes long delays no other one, and its process is ended when its time is up.
There are two guards: if one is dead or stuck, the other forks a new one, because this
process has no privileges left to start one.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.events import event
from consul_ebpf.kernel.guards import Guard, HelperError, end_process, process_of
from consul_ebpf.kernel.namespaces_child import GUARD, REQUEST
from consul_ebpf.model.errors import KernelError

logger = logging.getLogger(__name__)

_ROOT = str(Path(__file__).parents[2])

GUARDS = 2

BEGIN_SECONDS = 3.0
"""How long a guard may take to fork; a guard that takes longer is stuck."""

SPARE_SECONDS = 0.5
"""From a request's own deadline until its process is ended from here."""

CAPABILITIES = frozenset({"net_admin", "sys_admin", "sys_ptrace"})
"""Needed to cut connections and to enter network namespaces."""


class Helper:
    """The privileged processes of this controller. Safe for several threads."""

    def __init__(self, first: subprocess.Popen[bytes], guard: Guard) -> None:
        """Own the first guard, and let it fork the other one; use `start`."""
        self._first = first
        self._guards = [guard]
        self._lock = threading.Lock()
        self._closed = False
        self._complete = False
        """Whether all guards have been started; a later one replaces another."""
        self._replenish()
        self._complete = True

    def __repr__(self) -> str:
        return f"<Helper guards {self.pids}>"

    @property
    def pids(self) -> list[int]:
        """The guards' process ids."""
        return [guard.pid for guard in self._guards]

    @classmethod
    def start(
        cls,
        capabilities: Collection[str] = CAPABILITIES,
        kubelet_directory: str = "",
    ) -> Self:
        """Start the guards, which keep these of this process's capabilities.

        They end with this process, even when it is killed. They mount volumes below
        `kubelet_directory`; empty: nothing is mounted.

        Raises:
            KernelError: they cannot be started.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.pathsep.join([_ROOT, *sys.path[1:]])
        with theirs, boundary(KernelError, "the privileged helper cannot be started"):
            child = subprocess.Popen(
                [
                    # Without `site`, whose imports are a third of its memory.
                    *(sys.executable, "-S", "-m"),
                    "consul_ebpf.kernel.namespaces_child",
                    ",".join(sorted(capabilities)),
                    *([kubelet_directory] if kubelet_directory else []),
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                cwd="/",
                start_new_session=True,  # so that Ctrl-C ends only the controller
            )
        try:
            return cls(child, Guard(ours, *process_of(ours, 10 * BEGIN_SECONDS)))
        except BaseException:
            child.kill()
            child.wait()
            ours.close()
            raise

    def ask(self, name: str, *arguments: Any, seconds: float) -> dict[str, Any]:
        """Ask for one of `requests.REQUESTS`.

        Returns:
            Its `answer`, or the `errno` and `message` of what went wrong.

        Raises:
            HelperError: there was no answer within `seconds`, or its process ended.
        """
        with boundary(HelperError, "the privileged helper cannot be asked"):
            return self._ask([name, arguments, seconds], seconds)

    def _ask(self, request: list[Any], seconds: float) -> dict[str, Any]:
        error: HelperError | None = None
        for _ in range(GUARDS):  # a guard that is dead costs one attempt
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    guard = self._send(REQUEST, theirs)
                try:
                    process, _pid = process_of(ours, BEGIN_SECONDS)
                except HelperError as stuck:
                    error = stuck
                    self._replace(guard)
                    continue
                try:
                    return _asked(ours, request, seconds)
                finally:
                    end_process(process)  # if it has not ended by itself
        raise HelperError(f"the privileged helper does not start: {error}") from error

    def close(self) -> None:
        """End the guards, and with them the processes that they forked."""
        with self._lock:
            self._closed = True
            for guard in self._guards:
                guard.end()
            self._guards.clear()
        self._first.wait()

    def _send(self, kind: bytes, descriptor: socket.socket) -> Guard:
        """Send a guard a message; return the guard that took it."""
        with self._lock:
            self._replenish()
            for guard in list(self._guards):
                try:
                    guard.send(kind, descriptor)
                except OSError:
                    self._forget(guard)
                else:
                    # The guards take turns, so that a stuck one is soon found.
                    self._guards.remove(guard)
                    self._guards.append(guard)
                    return guard
        raise HelperError(
            "the privileged helper has ended, and this controller may not start it "
            "again: restart the controller"
        )

    def _replace(self, guard: Guard) -> None:
        """End a guard that does not fork, and let the other fork a new one."""
        with self._lock:
            if guard in self._guards and len(self._guards) > 1:
                self._forget(guard)
            self._replenish()

    def _replenish(self) -> None:
        """Let a guard that is left fork others until there are `GUARDS`."""
        for guard in [each for each in self._guards if each.has_ended()]:
            self._forget(guard)
        for guard in list(self._guards):
            if len(self._guards) >= GUARDS or self._closed:
                return
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            except OSError:  # no free descriptor: the next request tries it again
                return
            try:
                with theirs:
                    guard.send(GUARD, theirs)
                process = process_of(ours, BEGIN_SECONDS)
            except (OSError, HelperError):
                ours.close()
                if len(self._guards) > 1:
                    self._forget(guard)
            else:
                self._guards.append(Guard(ours, *process))
                if self._complete:
                    logger.warning(
                        "a process of the privileged helper was dead or stuck:"
                        " another one was started (pid %d)",
                        self._guards[-1].pid,
                        extra=event("mended"),
                    )

    def _forget(self, guard: Guard) -> None:
        self._guards.remove(guard)
        guard.end()
        if guard.pid == self._first.pid:
            self._first.wait()


def _asked(ours: socket.socket, request: list[Any], seconds: float) -> dict[str, Any]:
    """Send a request to the process made for it, and wait for the answer."""
    until = time.monotonic() + seconds + SPARE_SECONDS
    parts: list[bytes] = []
    what = f"the privileged helper, asked for {request[0]}"
    try:
        ours.settimeout(seconds + SPARE_SECONDS)
        ours.sendall(json.dumps(request).encode() + b"\n")
        while not parts or not parts[-1].endswith(b"\n"):
            ours.settimeout(max(until - time.monotonic(), 0.001))
            parts.append(ours.recv(1 << 20))
            if not parts[-1]:
                late = time.monotonic() >= until - SPARE_SECONDS
                raise HelperError(
                    f"{what}: no answer within {seconds:g} s"
                    if late
                    else f"{what}: its process was ended; asked again later"
                )
        return dict(json.loads(b"".join(parts)))
    except TimeoutError as error:
        raise HelperError(f"{what}: no answer within {seconds:g} s") from error
    except (OSError, ValueError) as error:
        raise HelperError(f"{what}: {error}") from error
