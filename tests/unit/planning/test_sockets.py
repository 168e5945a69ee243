"""Which sockets lead to the dead: only what the kernel itself wrote down."""

from dataclasses import replace
from ipaddress import IPv4Address

from consul_ebpf import (
    GRPC,
    Doomed,
    KernelState,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.model.values import VipCounters
from consul_ebpf.planning.sockets import doomed

ONE, TWO = Server.at("10.0.0.1", 8502), Server.at("10.0.0.2", 8502)
VIPS = [Vip(IPv4Address("127.64.0.1") + n, 8502) for n in range(2)]


def state(*sockets: tuple[tuple[int, int], ...]) -> KernelState:
    servers = {
        slot: SlottedServer(slot, replace(server, id=f"slot {slot}"), ServerState.READY)
        for slot, server in enumerate((ONE, TWO))
    }
    counters = {
        vip: VipCounters(len(ring), 0, ring)
        for vip, ring in zip(VIPS, sockets, strict=True)
    }
    return KernelState(Table(servers, dict.fromkeys(VIPS, (0, 1))), {}, counters)


def test_sockets_to_the_dead_server_are_named_and_no_others() -> None:
    """Of every VIP; the server is told by its endpoint, for the kernel knows no id."""
    kernel = state(((11, 0), (12, 1)), ((13, 0),))
    named = doomed(kernel, [GRPC.endpoint_of(replace(ONE, id="node-1"))])
    assert {(each.cookie, each.server.endpoint) for each in named} == {
        (11, ONE.endpoint),
        (13, ONE.endpoint),
    }
    assert all(isinstance(each, Doomed) for each in named)


def test_nobody_dead_nothing_named() -> None:
    """Nor for a server that is in no row, or a slot that is none's any more."""
    kernel = state(((11, 0), (12, 9)), ())
    assert doomed(kernel, []) == ()
    for other in (Server.at("10.0.0.9", 8502), replace(ONE, port=1)):
        assert doomed(kernel, [GRPC.endpoint_of(other)]) == ()
