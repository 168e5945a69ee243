"""The rows of `status`."""

from dataclasses import replace

from consul_ebpf.cli.columns import (
    PROXY_COLUMNS,
    lost_row,
    proxy_row,
    server_row,
    tables_of,
    volume_row,
)
from consul_ebpf.views.deaths import LostServer
from consul_ebpf.views.pods import NodeStatus, VolumeStatus
from consul_ebpf.views.servers import ServerStatus
from consul_ebpf.views.status import ProxyStatus, status_of
from tests.lab.looks import READY, snapshot, tables


def test_an_ipv6_servers_address_is_in_brackets() -> None:
    """Else its last part would be read as the port, and its port as part of it."""
    row = server_row(ServerStatus("fd00::1", 8502, 3, "failing", 5, 2, 1, 60.0), 72.0)
    assert row == ("[fd00::1]:8502", "failing", "12 s", "2", "5", "1", "3")
    assert lost_row(LostServer("a:1", 60.0), 72.0)[:3] == ("a:1", "died", "12 s")


def test_what_is_not_known_of_a_proxy_is_shown_as_such() -> None:
    """One that was never connected, of which no name is remembered."""
    row = proxy_row(ProxyStatus("", "127.64.0.2", [], 0, "", False, []), 9.0)
    assert dict(zip(PROXY_COLUMNS, row, strict=True)) == {
        "proxy": "(unknown)",
        "VIP": "127.64.0.2",
        "server": "-",
        "state": "never connected",
        "for": "-",
        "moves": "0",
        "connects": "0",
        "bound": "no",
        "admin": "-",
        "preference": "-",
    }


def test_a_pods_volume_is_shown_with_what_it_waits_for() -> None:
    """Nothing: a hyphen."""
    volume = VolumeStatus("ns/web", "u", "web-sidecar", True, ["no id", "no token"])
    assert volume_row(volume) == ("ns/web", "web-sidecar", "yes", "no id; no token")
    volume = VolumeStatus("ns/web", "u", "ns.web.u", False, [])
    assert volume_row(volume) == ("ns/web", "ns.web.u", "no", "-")


def test_what_a_host_has_not_is_no_table() -> None:
    """A node has its pods' volumes; an empty table has its heads."""
    status = status_of(snapshot(9.0, tables({0: READY}, {})))
    assert ["Consul servers", "Proxies"] == [title for title, _ in tables_of(status, 9)]
    node = replace(status, kubernetes=NodeStatus())
    (*_, (title, columns)) = tables_of(node, 9.0)
    assert ("Pods' volumes", ["pod", "proxy"]) == (title, list(columns.cells)[:2])
