"""What a killed process was doing: `python -m ... dns_scenario.py CGROUP BPFFS`."""

import sys

from consul_ebpf import BccMapBackend, Server, ServerState, SlottedServer, Table
from tests.kernel.dns_lab import DNS_VIP, PORT, SERVICE

SERVERS = ("127.0.16.1", "127.0.16.2")


def main() -> None:
    """Open DNS's backend there and apply a table."""
    cgroup, bpffs = sys.argv[1:]
    rows = {
        slot: SlottedServer(slot, Server.at(each, PORT), ServerState.READY, SERVICE)
        for slot, each in enumerate(SERVERS)
    }
    with BccMapBackend.open_dns(
        vip=DNS_VIP, server_port=PORT, cgroup=cgroup, bpffs=bpffs
    ) as backend:
        backend.apply(Table(rows, {DNS_VIP: tuple(rows)}))


if __name__ == "__main__":
    main()
