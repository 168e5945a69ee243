"""nftables DNAT: the kernel rewrites every packet, and keeps track of connections."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.peers.peer import (
    LISTEN_PORT,
    SERVER,
    VIRTUAL,
    VIRTUAL_PORT,
    Peer,
    Target,
    place,
)
from tests.lab.debian import unpacked

NAME = "nftables DNAT"
RULES = f"""
table ip bench {{
  chain output {{
    type nat hook output priority -100;
    ip daddr {VIRTUAL} tcp dport {VIRTUAL_PORT} dnat to {SERVER}:{LISTEN_PORT}
  }}
}}
"""


@contextmanager
def nftables() -> Iterator[Peer]:
    """Make a place where one rule leads one address to the server.

    Raises:
        PartMissingError: there is no nft.
    """
    nft = unpacked().program("nft")
    with place() as (netns, cgroup):
        command = [*netns.enter, *nft, "-f", "-"]
        subprocess.run(command, input=RULES, text=True, check=True)
        yield Peer(NAME, netns, cgroup, Target(VIRTUAL, VIRTUAL_PORT))
