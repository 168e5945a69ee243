"""Made-up hosts to look at: servers with states, proxies with where they are."""

from collections.abc import Mapping
from ipaddress import IPv4Address

from consul_ebpf.model.values import (
    KernelState,
    Server,
    ServerCounters,
    ServerState,
    SlottedServer,
    Table,
    Vip,
    VipCounters,
)
from consul_ebpf.views.snapshot import Remembered, ServiceAccount, Snapshot
from consul_ebpf.views.timeline import Timeline

READY, FAILING = ServerState.READY, ServerState.FAILING
DRAINING = ServerState.DRAINING


def vip(n: int) -> Vip:
    return Vip(IPv4Address("127.64.0.1") + n, 8502)


def server(slot: int) -> str:
    """Return the `address:port` of a made-up server."""
    return f"10.0.0.{slot}:8502"


def tables(
    states: Mapping[int, ServerState], where: Mapping[int, tuple[int, int | None]]
) -> KernelState:
    """Return a kernel's tables.

    Args:
        states: by slot.
        where: by number of the VIP, how often it connected, and the slot of the last.
    """
    rows = {
        slot: SlottedServer(slot, Server.at(f"10.0.0.{slot}", 8502), state)
        for slot, state in states.items()
    }
    vips = {
        vip(n): VipCounters(often, slot, () if slot is None else ((n + 1, slot),))
        for n, (often, slot) in where.items()
    }
    connects = dict.fromkeys(rows, 0)
    for often, slot in where.values():
        if slot is not None:
            connects[slot] += often
    return KernelState(
        Table(rows, dict.fromkeys(vips, tuple(rows))),
        {slot: ServerCounters(often) for slot, often in connects.items()},
        vips,
        capacity=100,
    )


def snapshot(
    at: float,
    held: KernelState,
    *,
    pid: int | None = 7,
    attached: bool = True,
    events: Mapping[str, int] | None = None,
    timeline: Timeline | None = None,
    closed: frozenset[int] = frozenset(),
) -> Snapshot:
    """Return a host whose proxies are `web-0`, `web-1`, ..., connected but `closed`."""
    names = {each: (f"web-{n}", each) for n, each in enumerate(map(vip, range(100)))}
    account = ServiceAccount(held, {"connect4": 9}, "/cgroup", attached=attached)
    open_ = {cookie for row in held.vips.values() for cookie, _ in row.sockets}
    return Snapshot(
        at,
        {"grpc": account},
        frozenset(open_ - {n + 1 for n in closed}),
        Remembered(names, timeline=timeline),
        pid=pid,
        events=events or {},
        monotonic=at,
    )
