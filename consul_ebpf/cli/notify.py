"""systemd's protocol: datagrams to $NOTIFY_SOCKET, for readiness and the watchdog."""

import os
import socket
from collections.abc import Mapping

from consul_ebpf.base.lines import one_line

STATUS = 1000
"""Characters of a status at most: systemd keeps one line, and people read it."""


class Notifier:
    """Tells systemd how we are; without a socket, or with a deaf one, nobody."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """Read $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID."""
        self._address = env.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # Linux's abstract namespace
            self._address = "\0" + self._address[1:]
        whose = env.get("WATCHDOG_PID", "") or str(os.getpid())
        self._watched = bool(env.get("WATCHDOG_USEC")) and whose == str(os.getpid())

    def ready(self) -> None:
        """Say that we serve what is known."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that this is the end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Give `systemctl status` a line; whatever is in it, it is no other message."""
        self._send(f"STATUS={one_line(text, STATUS)}")

    def alive(self) -> None:
        """Ping the watchdog, if there is one.

        Called every other second by work that is done, so a controller that is stuck
        stops pinging; $WATCHDOG_USEC should be six seconds or more.
        """
        if self._watched:
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
