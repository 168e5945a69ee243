"""What a killed process was doing: `python -m ... scenario.py BEGIN CGROUP BPFFS`.

Opens a backend there and applies the table numbered BEGIN, then the next one.
"""

import sys
from ipaddress import IPv4Address

from consul_ebpf import BccMapBackend, Server, ServerState, SlottedServer, Table, Vip

SERVERS = ("127.0.14.1", "127.0.14.2", "127.0.14.3")
PORT = 8502
VIPS = tuple(Vip(IPv4Address("127.64.0.1") + n, 8502) for n in range(3))


def _row(slot: int, state: ServerState = ServerState.READY) -> SlottedServer:
    return SlottedServer(slot, Server.at(SERVERS[slot], PORT), state)


TABLES = (
    Table({0: _row(0), 1: _row(1)}, {VIPS[0]: (0, 1), VIPS[1]: (1, 0)}),
    # A server fails, one comes, one VIP goes, one comes, one prefers another.
    Table(
        {1: _row(1, ServerState.FAILING), 2: _row(2)},
        {VIPS[0]: (2, 1), VIPS[2]: (2,)},
    ),
)
"""Whichever of them a VIP's row is of, it leads to one of `SERVERS`."""


def main() -> None:
    """Open and apply."""
    begin, cgroup, bpffs = sys.argv[1:]
    with BccMapBackend.open(cgroup=cgroup, bpffs=bpffs, max_proxies=100) as backend:
        for table in TABLES[int(begin) :]:
            backend.apply(table)


if __name__ == "__main__":
    main()
