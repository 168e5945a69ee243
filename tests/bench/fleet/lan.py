"""Two network namespaces joined by a cable: the servers' and the hosts'.

What goes over the cable is counted, and nothing else does.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

from tests.lab.scratch import Netns, scratch_netns

NAME = "cable"
SERVERS = tuple(f"10.99.0.{n}" for n in (1, 2, 3))
HOSTS = "10.99.0.100"


@dataclass(frozen=True)
class Lan:
    """The two namespaces."""

    servers: Netns
    hosts: Netns

    @property
    def bytes_passed(self) -> int:
        """What has gone over the cable so far, both ways, with Ethernet's headers."""
        table = (self.hosts.path.parents[1] / "net/dev").read_text()
        line = next(each for each in table.splitlines() if NAME in each)
        words = line.partition(":")[2].split()
        return int(words[0]) + int(words[8])


@contextmanager
def lan() -> Iterator[Lan]:
    """Make both; they end with the cable."""
    with scratch_netns() as servers, scratch_netns() as hosts:
        servers.call(lambda: _plug(hosts))
        servers.call(lambda: _address(SERVERS))
        hosts.call(lambda: _address([HOSTS]))
        yield Lan(servers, hosts)


def _plug(other: Netns) -> None:
    """Make the cable from this thread's namespace to another one."""
    pid = int(Path(other.path).parts[2])
    with IPRoute() as ip:
        peer = {"ifname": NAME, "net_ns_pid": pid}
        ip.link("add", ifname=NAME, kind="veth", peer=peer)


def _address(addresses: Sequence[str]) -> None:
    with IPRoute() as ip:
        (cable,) = ip.link_lookup(ifname=NAME)
        for address in addresses:
            ip.addr("add", index=cable, address=address, prefixlen=24)
        ip.link("set", index=cable, state="up")
