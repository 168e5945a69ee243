"""A `MapBackend` alone: a table of your own, in the kernel.

    sudo mkdir /sys/fs/bpf/example
    sudo python examples/map_backend.py auto /sys/fs/bpf/example

Attaches at that cgroup (auto: the root of all), pins in that directory, connects to
one VIP twice and detaches. The second connect comes so soon that it is a retry.
"""

import socket
import sys
from ipaddress import IPv4Address

from consul_ebpf import BccMapBackend, Server, ServerState, SlottedServer, Table, Vip

VIP = Vip(IPv4Address("127.127.0.1"), 8502)


def redirect(cgroup: str, bpffs: str) -> None:
    """Let the VIP lead to two servers, in an order of preference."""
    servers = {}
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    for slot, listener in enumerate(listeners):
        server = Server.at(*listener.getsockname())
        servers[slot] = SlottedServer(slot, server, ServerState.READY)
        print(f"slot {slot} is {server.endpoint}")
    with BccMapBackend.open(cgroup=cgroup, bpffs=bpffs) as backend:
        try:
            print(backend.apply(Table(servers, {VIP: (0, 1)})))
            for _ in range(2):
                with socket.create_connection((str(VIP.address), VIP.port)) as client:
                    print(f"{VIP} led to port {client.getpeername()[1]}")
        finally:
            backend.detach()


if __name__ == "__main__":
    redirect(*sys.argv[1:])
