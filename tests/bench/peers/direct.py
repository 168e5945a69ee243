"""No indirection: the client connects to the server. Nothing can be faster."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.peers.peer import Peer, place

NAME = "no indirection"


@contextmanager
def direct() -> Iterator[Peer]:
    """Make a place without any program."""
    with place() as (netns, cgroup):
        yield Peer(NAME, netns, cgroup)
