"""This project's program, with real tables: servers, and a row for each proxy's VIP."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from consul_ebpf import (
    BccMapBackend,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from tests.bench.peers.peer import (
    LISTEN_PORT,
    VIRTUAL,
    VIRTUAL_PORT,
    Peer,
    Target,
    place,
)
from tests.lab.scratch import scratch_bpffs

NAME = "consul-ebpf"
SERVERS = ("127.0.1.1", "127.0.1.2", "127.0.1.3")


def table(proxies: int) -> Table:
    """Make a table with three ready servers, preferred in turn by so many VIPs."""
    servers = {
        slot: SlottedServer(slot, Server.at(address, LISTEN_PORT), ServerState.READY)
        for slot, address in enumerate(SERVERS)
    }
    first = IPv4Address(VIRTUAL)
    turns = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    vips = {Vip(first + n, VIRTUAL_PORT): turns[n % 3] for n in range(proxies)}
    return Table(servers, vips)


@contextmanager
def consul_ebpf(proxies: int) -> Iterator[Peer]:
    """Attach our program, with so many proxies in its table."""
    with (
        place() as (netns, cgroup),
        scratch_bpffs() as bpffs,
        BccMapBackend.open(cgroup=str(cgroup), bpffs=str(bpffs)) as backend,
    ):
        backend.apply(table(proxies))
        target = Target(VIRTUAL, VIRTUAL_PORT, proxies)
        yield Peer(NAME, netns, cgroup, target, bpffs)
