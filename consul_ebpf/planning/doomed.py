"""PURE: which sockets lead to servers that are dead, by the kernel's own account.

Only sockets that went through a VIP are in the kernel's rings, so no others are named.
"""

from collections.abc import Collection

from consul_ebpf._protocols import Doomed
from consul_ebpf._values import KernelState, Server


def doomed(state: KernelState, dead: Collection[Server]) -> tuple[Doomed, ...]:
    """Name the newest sockets of each VIP that were sent to a dead server.

    By its endpoint in the kernel's row: a slot may have got another server since, and
    whoever destroys compares the peer once more.
    """
    endpoints = {_endpoint(server) for server in dead}
    rows = {
        slot: entry.server
        for slot, entry in state.table.servers.items()
        if _endpoint(entry.server) in endpoints
    }
    return tuple(
        Doomed(cookie, rows[slot])
        for counters in state.vips.values()
        for cookie, slot in counters.sockets
        if slot in rows
    )


def _endpoint(server: Server) -> tuple[object, ...]:
    return server.ipv4, server.ipv6, server.port
