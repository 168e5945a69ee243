"""Names the sockets to cut, from what the kernel noted. Pure.

The kernel notes only sockets that went through a VIP, so no others can be named.
"""

from collections.abc import Collection, Iterable

from consul_ebpf.model.seams import Doomed
from consul_ebpf.model.values import GRPC, Endpoint, KernelState, Vip


def doomed(state: KernelState, dead: Collection[Endpoint]) -> tuple[Doomed, ...]:
    """Name the newest sockets of each VIP that were sent to where a server is dead.

    By the kernel's row: a slot may have got another server since, and whoever destroys
    compares the peer once more.
    """
    found = sockets_of(state, state.vips)
    return tuple(each for each in found if GRPC.endpoint_of(each.server) in dead)


def sockets_of(state: KernelState, vips: Iterable[Vip]) -> tuple[Doomed, ...]:
    """Name the newest sockets of these VIPs, wherever they lead."""
    rows = {slot: entry.server for slot, entry in state.table.servers.items()}
    return tuple(
        Doomed(cookie, rows[slot])
        for vip in vips
        if vip in state.vips
        for cookie, slot in state.vips[vip].sockets
        if slot in rows
    )
