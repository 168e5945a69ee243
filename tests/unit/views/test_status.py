"""What is shown of a snapshot."""

import json
from ipaddress import IPv4Address

from consul_ebpf import (
    Binding,
    KernelState,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.model.values import ServerCounters, VipCounters
from consul_ebpf.views.dns import DnsServerStatus, DnsStatus
from consul_ebpf.views.servers import ServerStatus
from consul_ebpf.views.snapshot import Remembered, ServiceAccount, Snapshot
from consul_ebpf.views.status import (
    ProxyStatus,
    Status,
    status_of,
)

ONE, TWO = (Vip(IPv4Address(f"127.64.0.{n}"), 8502) for n in (1, 2))


def state() -> KernelState:
    """Return two servers and two VIPs; only the first VIP was ever used."""
    servers = {
        3: SlottedServer(3, Server.at("10.0.0.1", 8502), ServerState.READY),
        4: SlottedServer(4, Server.at("fd00::1", 8503), ServerState.FAILING),
    }
    return KernelState(
        table=Table(servers, {ONE: (4, 3, 9), TWO: (3,)}, {ONE: Binding(netns=7)}),
        servers={3: ServerCounters(5, 2), 4: ServerCounters(1, 1)},
        vips={
            ONE: VipCounters(6, 3, ((111, 3), (222, 4), (333, 3))),
            TWO: VipCounters(),
        },
    )


def shown(*cookies: int) -> Status:
    names = {ONE: ("web", Vip(ONE.address, ONE.port, ipv6=True))}
    grpc = ServiceAccount(state(), {"connect4": 9}, "/c", attached=True)
    seen = frozenset(cookies)
    return status_of(Snapshot(0.0, {"grpc": grpc}, seen, Remembered(names)))


def test_servers_are_told_with_their_open_connections() -> None:
    """Active are those of the remembered sockets that are established now."""
    assert shown(111, 333, 999).servers == [
        ServerStatus("10.0.0.1", 8502, 3, "ready", 5, 2, 2),
        ServerStatus("fd00::1", 8503, 4, "failing", 1, 0, 1),
    ]


def test_proxies_are_told_by_name_and_as_their_bootstrap_says() -> None:
    """One without a name is there all the same; a slot that is empty is not."""
    endpoints = ["[fd00::1]:8503", "10.0.0.1:8502"]
    nameless = ProxyStatus("", "127.64.0.2", ["10.0.0.1:8502"], 0, "", False, [])
    web = ProxyStatus(
        "web", "::ffff:127.64.0.1", endpoints, 6, "10.0.0.1:8502", True, ["netns"]
    )
    assert shown(222).proxies == [nameless, web]


def test_json_has_the_contracts_keys() -> None:
    """What programs rely on; more may be there."""
    data = json.loads(json.dumps(shown().to_json()))
    assert {"servers", "proxies", "kernel", "controller"} <= data.keys()
    assert {
        "address",
        "port",
        "slot",
        "state",
        "connects",
        "active",
        "failures",
    } <= data["servers"][0].keys()
    assert {"id", "vip", "preference", "connects"} <= data["proxies"][0].keys()
    assert {"attached", "cgroup", "programs", "capacity"} <= data["kernel"].keys()
    assert data["controller"]["running"] is False
    assert data["controller"]["pid"] is None
    assert data["kernel"]["programs"] == [{"hook": "connect4", "id": 9}]


def test_dns_is_told_where_there_is_one() -> None:
    """With its servers, which are others than the proxies', and what they answered."""
    assert shown().dns is None
    assert shown().to_json()["dns"] is None
    rows = {0: SlottedServer(0, Server.at("10.0.0.1", 8600), ServerState.FAILING)}
    vip = Vip(IPv4Address("127.64.0.53"), 53)
    tables = KernelState(
        Table(rows, {vip: (0,)}),
        servers={0: ServerCounters(7, 2)},
        vips={vip: VipCounters(9, 0, (), 3)},
    )
    services = {
        "grpc": ServiceAccount(state()),
        "dns": ServiceAccount(tables, attached=True),
    }
    server = DnsServerStatus("10.0.0.1", 8600, 0, "failing", queries=7, unanswered=2)
    expected = DnsStatus("127.64.0.53:53", True, queries=9, moved=3, servers=[server])
    assert expected == status_of(Snapshot(0.0, services, frozenset())).dns
