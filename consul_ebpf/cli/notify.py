"""systemd's protocol: datagrams to $NOTIFY_SOCKET, for readiness and the watchdog."""

import asyncio
import os
import socket
from collections.abc import Mapping

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.lines import one_line
from consul_ebpf.controller.outcomes import Converged

STATUS_CHARACTERS = 1000
"""Most characters of a status: systemd keeps one line, and people read it."""


class Notifier:
    """Tells systemd the controller's state. A socket that is missing or fails: silence.

    Args:
        env: has $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID. The watchdog is
            pinged every two seconds, so $WATCHDOG_USEC should be six seconds or more.
        outcome: the first value means ready; each is shown by `systemctl status`.
        alive: each value pings the watchdog.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        outcome: Latest[Converged],
        alive: Latest[int],
    ) -> None:
        self._address = env.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # Linux's abstract namespace
            self._address = "\0" + self._address[1:]
        whose = env.get("WATCHDOG_PID", "") or str(os.getpid())
        self._watched = bool(env.get("WATCHDOG_USEC")) and whose == str(os.getpid())
        self._outcome = outcome
        self._alive = alive

    def __repr__(self) -> str:
        return f"<Notifier {self._address!r}>"

    async def run(self) -> None:
        """Report until cancelled, and then report that the controller stops."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell_status())
                if self._watched:
                    tasks.create_task(self._ping_watchdog())
        except asyncio.CancelledError:
            self._send("STOPPING=1")
            raise

    async def _tell_status(self) -> None:
        await self._outcome.changed_since(0, None)
        self._send("READY=1")
        async for done in self._outcome.changes():
            missing = f"; missing: {'; '.join(done.missing)}" if done.missing else ""
            status = (
                f"{done.servers} servers ready, {done.proxies} proxies,"
                f" {done.refused} refused{missing}"
            )
            # One line, so that no text in it can be taken for another message.
            self._send(f"STATUS={one_line(status, STATUS_CHARACTERS)}")

    async def _ping_watchdog(self) -> None:
        async for _ in self._alive.changes():
            self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_UNIX, kind) as to:
            try:
                to.connect(self._address)
                to.send(state.encode())
            except OSError:
                return
