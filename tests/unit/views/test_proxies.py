"""What is told of a proxy, with a controller and after one."""

from ipaddress import IPv4Address

from consul_ebpf import KernelState, Server, ServerState, SlottedServer, Table, Vip
from consul_ebpf.model.values import ServerCounters, VipCounters
from consul_ebpf.views.proxies import Condition, left_behind
from consul_ebpf.views.snapshot import Remembered, ServiceAccount, Snapshot

WEB, OLD = (Vip(IPv4Address(f"127.64.0.{n}"), 8502) for n in (1, 2))
TABLES = KernelState(
    Table({0: SlottedServer(0, Server.at("10.0.0.1", 8502), ServerState.READY)}),
    servers={0: ServerCounters(1)},
    vips={WEB: VipCounters(1, 0, ((7, 0),))},
)


def test_what_an_ended_controller_left() -> None:
    """The kernel's row tells; a VIP that is only remembered is no proxy's any more."""
    names = {WEB: ("web", WEB), OLD: ("old", OLD)}
    snapshot = Snapshot(
        0.0, {"grpc": ServiceAccount(TABLES)}, frozenset({7}), Remembered(names)
    )
    seen = left_behind(snapshot, "web")
    assert seen is not None
    assert (seen.vip, seen.server) == ("127.64.0.1:8502", "10.0.0.1:8502")
    held = [each for each in Condition if seen.holds(each)]
    assert held == ["programmed", "connected"]
    assert left_behind(snapshot, "old") is None
    assert left_behind(snapshot, "other") is None
