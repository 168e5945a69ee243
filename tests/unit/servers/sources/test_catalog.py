"""Reading the catalog's answer."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources.catalog import servers_in


def entry(node: str = "s1", **changes: Any) -> dict[str, Any]:
    """Return one entry as Consul 1.22 sends it, a little shortened."""
    return {
        "ID": f"id-of-{node}",
        "Node": node,
        "Address": "10.0.0.1",
        "Datacenter": "dc1",
        "TaggedAddresses": {
            "lan": "10.0.0.1",
            "wan": "8.8.8.8",
            "lan_ipv4": "10.0.0.1",
        },
        "NodeMeta": {"consul-version": "1.22.7"},
        "ServiceID": "consul",
        "ServiceName": "consul",
        "ServiceAddress": "",
        "ServiceMeta": {
            "grpc_port": "8502",
            "grpc_tls_port": "8503",
            "version": "1.22.7",
        },
        "ServicePort": 8300,
        "ServicePorts": None,
        "ServiceConnect": {},
        "CreateIndex": 13,
    } | changes


def decoded(
    *entries: Any, tls: bool = False
) -> tuple[tuple[Server, ...], tuple[str, ...]]:
    body = json.dumps(entries).encode()
    return servers_in(body, grpc_port=7000, tls=tls)


def read(*entries: Any, tls: bool = False) -> tuple[list[str], tuple[str, ...]]:
    servers, skipped = decoded(*entries, tls=tls)
    return [server.endpoint for server in servers], skipped


def test_the_address_is_the_nodes_and_the_port_the_metadatas() -> None:
    """ServicePort is the servers' RPC port and ServiceAddress is empty."""
    ((server,), skipped) = decoded(entry())
    assert () == skipped
    assert "10.0.0.1:8502" == server.endpoint
    assert ("id-of-s1", "s1", "1.22.7") == (server.id, server.name, server.version)


def test_with_tls_the_tls_port_is_taken() -> None:
    """Each server says both."""
    assert (["10.0.0.1:8503"], ()) == read(entry(), tls=True)


def test_fault_26_ports_are_each_servers_own() -> None:
    """Two servers may serve gRPC on different ports."""
    other = entry("s2", Address="10.0.0.2", ServiceMeta={"grpc_port": "9502"})
    assert (["10.0.0.1:8502", "10.0.0.2:9502"], ()) == read(entry(), other)


def test_a_server_without_the_port_another_has_is_skipped() -> None:
    """Its gRPC is off; the default port would be a guess against the evidence."""
    off = entry("s2", ServiceMeta={"version": "1.22.7"})
    endpoints, (reason,) = read(entry(), off)
    assert ["10.0.0.1:8502"] == endpoints
    assert "s2" in reason
    assert "grpc_port" in reason


@pytest.mark.parametrize("meta", [None, {}, {"version": "1.9.0"}])
def test_without_ports_anywhere_the_default_is_taken(meta: Any) -> None:
    """Old servers do not say."""
    assert (["10.0.0.1:7000"], ()) == read(entry(ServiceMeta=meta))


@pytest.mark.parametrize("port", ["x", "-1", "8502.0", " 8502", "\u0661", "9" * 5000])
def test_fault_26_a_port_that_is_no_number_skips_the_server(port: str) -> None:
    """With the reason."""
    endpoints, (reason,) = read(entry(ServiceMeta={"grpc_port": port}))
    assert [] == endpoints
    assert "is no port" in reason


def test_fault_25_the_other_family_comes_from_the_tagged_addresses() -> None:
    """A dual-stack server has both, its main address first in its own family."""
    tagged = {"lan_ipv4": "10.9.9.9", "lan_ipv6": "fd00::1", "wan_ipv6": "2001:db8::1"}
    ((server,), _) = decoded(entry(TaggedAddresses=tagged))
    assert ("10.0.0.1", "fd00::1") == (str(server.ipv4), str(server.ipv6))


def test_fault_25_tagged_addresses_may_be_null() -> None:
    """As they are for a moment after a server registered."""
    assert (["10.0.0.1:8502"], ()) == read(entry(TaggedAddresses=None))


def test_fault_23_a_host_name_is_skipped_with_a_reason() -> None:
    """Nothing here resolves names."""
    strange = entry(Address="consul.example", TaggedAddresses=None)
    endpoints, (reason,) = read(strange)
    assert [] == endpoints
    assert "'consul.example' is no IP address" in reason


def test_without_a_node_id_the_node_name_is_the_id() -> None:
    """Nodes registered by hand have none."""
    ((server,), _) = decoded(entry(ID=""))
    assert "s1" == server.id


@pytest.mark.parametrize(
    "bad",
    [None, 1, "s1", [], {}, entry(Node=None), entry(Address=5), entry(ServiceMeta=[])],
)
def test_a_malformed_entry_is_skipped_with_a_reason(bad: Any) -> None:
    """It costs no other server its place."""
    endpoints, (reason,) = read(bad, entry())
    assert ["10.0.0.1:8502"] == endpoints
    assert "entry 0" in reason


@pytest.mark.parametrize("bad", [None, {}, "[]", 0, float("nan")])
def test_an_answer_that_is_no_list_is_an_error(bad: Any) -> None:
    """It says nothing about the servers."""
    with pytest.raises(ConsulError):
        servers_in(json.dumps(bad).encode(), grpc_port=1, tls=False)


@pytest.mark.parametrize(
    "strange",
    [
        b'{"Node": "\xff\xfe", "Address": "10.0.0.9"}',
        b'{"Node": "x", "Address": "10.0.0.9", "ID": ' + b"9" * 5000 + b"}",
        b'{"Node": "x", "Address": "10.0.0.9", "ServiceMeta": 1}',
        b'{"Node": "x", "Address": "fd00::1%eth0"}',
    ],
    ids=["no UTF-8", "5,000 digits", "type", "zone"],
)
def test_fault_113_one_strange_entry_costs_only_itself(strange: bytes) -> None:
    """The others are taken; the reason is one printable line."""
    body = b"[" + strange + b"," + json.dumps(entry()).encode() + b"]"
    (server,), (reason,) = servers_in(body, grpc_port=1, tls=False)
    assert "10.0.0.1:8502" == server.endpoint
    assert reason.isprintable()


def test_fault_113_a_name_with_terminal_codes_is_shown_escaped() -> None:
    """It could forge lines of the log or clear a screen."""
    hostile = entry("x\n2026-01-01 ERROR y\x1b[2J", ServiceMeta={"grpc_port": "no"})
    _, (reason,) = read(hostile, entry())
    assert reason.isprintable()
    assert "ERROR y\\x1b[2J" in reason


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"0"] * 400_000) + b"]",
        b"[" * 1_000_000 + b"]" * 1_000_000,
        b'[{"Node":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        b"[" + b",".join([b'{"Node":"a"}'] * 2001) + b"]",
    ],
    ids=["zeros", "a million deep", "100,000 deep", "too many"],
)
def test_fault_113_an_absurd_answer_is_refused_at_once(body: bytes) -> None:
    """It is an error, or each entry is skipped; neither takes long."""
    begun = time.process_time()
    with pytest.raises(ConsulError) as caught:
        servers_in(body, grpc_port=1, tls=False)
    assert str(caught.value).isprintable()
    assert time.process_time() - begun < 0.5, "0.03 s where nothing else runs"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    st.lists(
        values | st.builds(entry, Address=values, ServiceMeta=values, ID=values),
        max_size=10,
    )
)
def test_fault_53_no_list_is_too_strange(data: list[Any]) -> None:
    """Each entry ends as a server or as a reason."""
    servers, skipped = decoded(*data)
    assert len(data) == len(servers) + len(skipped)
