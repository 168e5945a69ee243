"""What is compared: a place with something, or nothing, between client and server."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.processes import wait_until
from tests.lab.scratch import Netns, scratch_cgroup, scratch_netns

SERVER = "127.0.1.1"
LISTEN_PORT = 7000
"""Where the server is, in each peer's own network namespace."""
VIRTUAL = "127.64.0.1"
VIRTUAL_PORT = 8502
"""What clients connect to where that is led to the server."""


@dataclass(frozen=True)
class Target:
    """Where clients connect to: so many addresses in turn, from this one on.

    `family` 6: by AF_INET6 sockets, to the IPv4-mapped addresses.
    """

    address: str = SERVER
    port: int = LISTEN_PORT
    spread: int = 1
    family: int = 4


@dataclass(frozen=True)
class Peer:
    """One of those compared: where its clients run, and what they connect to."""

    name: str
    netns: Netns
    cgroup: Path
    target: Target = Target()
    bpffs: Path | None = None
    """Where its program is pinned."""


@contextmanager
def place() -> Iterator[tuple[Netns, Path]]:
    """Make a network namespace and a cgroup for one peer alone."""
    with scratch_netns() as netns, scratch_cgroup() as cgroup:
        yield netns, cgroup


def wait_listening(peer: Peer) -> None:
    """Wait until the peer's target accepts connections."""

    def connect() -> bool:
        where = (peer.target.address, peer.target.port)
        socket.create_connection(where, timeout=1).close()
        return True

    wait_until(lambda: peer.netns.call(connect), f"{peer.name} listens")
