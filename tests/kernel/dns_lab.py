"""The DNS program opened in a scratch cgroup, and tables for it."""

import os
from ipaddress import IPv4Address
from typing import Any

from consul_ebpf import BccMapBackend, ServerState, Service, SlottedServer, Table, Vip
from consul_ebpf.kernel import objects
from consul_ebpf.kernel.program import DNS
from tests.kernel.conftest import READY, Kernel
from tests.kernel.resolving import Responder

ADDRESS = ("127.64.0.53", 53)
DNS_VIP = Vip(IPv4Address(ADDRESS[0]), ADDRESS[1])
PORT = 8653
SERVICE = Service("dns", PORT)


def open_dns(kernel: Kernel, **settings: Any) -> BccMapBackend:
    """Open a backend for DNS there."""
    return BccMapBackend.open_dns(
        vip=DNS_VIP,
        server_port=PORT,
        cgroup=str(kernel.cgroup),
        bpffs=str(kernel.bpffs),
        **settings,
    )


def table(responders: list[Responder], *states: ServerState, first: int = 0) -> Table:
    """Make a table in which the VIP prefers them in their order, ready if not said."""
    every = [*states, *[READY] * (len(responders) - len(states))]
    rows = {
        slot: SlottedServer(slot, each.server, state, SERVICE)
        for slot, (each, state) in enumerate(zip(responders, every, strict=True), first)
    }
    return Table(rows, {DNS_VIP: tuple(rows)})


def programs(kernel: Kernel) -> dict[str, int]:
    """Return how many programs are attached at each hook of DNS."""
    directory = os.open(kernel.cgroup, os.O_RDONLY)
    try:
        return {
            hook: len(objects.programs_at(directory, kind)[0])
            for hook, kind in DNS.hooks.items()
        }
    finally:
        os.close(directory)
