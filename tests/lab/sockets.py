"""What the kernel says of a process's TCP connections."""

import socket
import sys
from pathlib import Path

ESTABLISHED = "01"
LISTEN = "0A"


def connections(pid: int) -> list[str]:
    """Return the peers, as `address:port`, of a process's own outgoing connections.

    Established ones only. Connections to a port it listens on are not outgoing.
    """
    inodes = _sockets(pid)
    mine = [
        (local, peer, state)
        for table in ("tcp", "tcp6")
        for local, peer, state, inode in _table(Path(f"/proc/{pid}/net/{table}"))
        if inode in inodes
    ]
    listening = {_port(local) for local, _, state in mine if state == LISTEN}
    return [
        _readable(peer)
        for local, peer, state in mine
        if state == ESTABLISHED and _port(local) not in listening
    ]


def accepted(pid: int, end: str) -> int:
    """Count the IPv4 connections to an `address:port` of the namespace of a process."""
    return sum(
        state == ESTABLISHED and _readable(local) == end
        for local, _, state, _ in _table(Path(f"/proc/{pid}/net/tcp"))
    )


def _sockets(pid: int) -> set[str]:
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(fd.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes


def _table(path: Path) -> list[tuple[str, str, str, str]]:
    rows = (line.split() for line in path.read_text().splitlines()[1:])
    return [(row[1], row[2], row[3], row[9]) for row in rows]


def _port(end: str) -> int:
    return int(end.rpartition(":")[2], 16)


def _readable(end: str) -> str:
    """Decode `0100007F:2136` or its IPv6 form: 32-bit words in host byte order."""
    words = end.partition(":")[0]
    raw = b"".join(
        int(words[i : i + 8], 16).to_bytes(4, sys.byteorder)
        for i in range(0, len(words), 8)
    )
    if len(raw) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, raw)}:{_port(end)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, raw)}]:{_port(end)}"
