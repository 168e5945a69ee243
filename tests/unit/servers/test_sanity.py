"""Which listed servers are kept, and why others are not."""

from dataclasses import replace
from ipaddress import IPv4Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model import values as _values
from consul_ebpf.model.values import MAX_SERVERS, Server
from consul_ebpf.servers.sanity import sane

VIPS = IPv4Network("127.64.0.0/10")
GOOD = Server.at("10.0.0.1", 8502)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "127.0.0.1", "127.1.2.3", "::1", "fd00::1", "2001:db8::1", "8.8.8.8"],
)
def test_an_ordinary_address_is_kept(address: str) -> None:
    """Unicast addresses outside the VIP range are servers, loopback included."""
    server = Server.at(address, 8502)
    assert ((server,), ()) == sane([server], VIPS)


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("240.0.0.1", "reserved"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("127.64.0.1", "VIP range"),
        ("127.127.255.255", "VIP range"),
        ("::ffff:127.64.0.1", "VIP range"),
        ("::ffff:10.0.0.1", "IPv4-mapped"),
        ("::ffff:0.0.0.0", "IPv4-mapped"),
    ],
)
def test_fault_24_an_absurd_address_is_rejected_with_the_reason(
    address: str, fault: str
) -> None:
    """Addresses that lead nowhere, to many, or back to the VIP are no servers."""
    kept, rejected = sane([GOOD, Server.at(address, 8502)], VIPS)
    assert (GOOD,) == kept
    assert 1 == len(rejected)
    assert fault in rejected[0]
    assert str(ip_address(address)) in rejected[0]


@pytest.mark.parametrize("port", [0, -1, 65536, 10**9])
def test_fault_26_an_impossible_port_is_rejected(port: int) -> None:
    """Only 1..65535 are ports."""
    kept, rejected = sane([replace(GOOD, port=port)], VIPS)
    assert () == kept
    assert f"port {port}" in rejected[0]


def test_a_server_keeps_its_good_address() -> None:
    """One bad address of two costs that address, not the server."""
    both = replace(GOOD, ipv6=Server.at("fe80::1", 1).ipv6)
    kept, rejected = sane([both], VIPS)
    assert (GOOD,) == kept
    assert "[fe80::1]:8502 is a link-local address" in rejected[0]


def test_an_endpoint_listed_twice_is_one_server() -> None:
    """The first by id stays, in whatever order they come."""
    other = replace(GOOD, id="zzz", name="twin")
    assert sane([GOOD, other], VIPS) == sane([other, GOOD], VIPS)
    assert ((GOOD,), ("server twin left out: listed twice",)) == sane(
        [GOOD, other], VIPS
    )


def test_an_id_listed_twice_is_one_server() -> None:
    """The pool tells servers apart by id."""
    kept, rejected = sane([GOOD, replace(GOOD, port=1)], VIPS)
    assert 1 == len(kept)
    assert 1 == len(rejected)


def test_fault_21_thousands_of_servers_are_cut_to_the_same_few() -> None:
    """The subset depends on the set alone, and somebody is told."""
    many = [Server.at(f"10.1.{i // 250}.{i % 250 + 1}", 8502) for i in range(10_000)]
    kept, rejected = sane(many, VIPS)
    assert MAX_SERVERS == len(kept)
    assert kept == sane(reversed(many), VIPS).kept
    assert ("10000 servers are listed: using the first 64 by id",) == rejected


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@given(st.lists(st.builds(Server.at, addresses, st.integers(-1, 70000)), max_size=100))
def test_what_is_kept_can_be_connected_to(servers: list[Server]) -> None:
    """Whatever comes in: sorted, distinct, few, sane again, the rest with a reason."""
    kept, rejected = sane(servers, VIPS)
    assert (kept, ()) == sane(kept, VIPS)
    assert sorted({s.id for s in kept}) == [s.id for s in kept]
    assert len(kept) <= _values.MAX_SERVERS
    if len(servers) <= MAX_SERVERS:
        assert len(servers) == len(kept) + len(rejected)
