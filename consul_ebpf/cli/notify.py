"""systemd's readiness protocol: one datagram to $NOTIFY_SOCKET."""

import socket
from collections.abc import Mapping


def notify(state: str, env: Mapping[str, str]) -> None:
    """Send `READY=1` or the like; without a socket, or with a deaf one, do nothing."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        try:
            to.connect(address)
            to.send(state.encode())
        except OSError:
            return
