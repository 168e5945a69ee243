"""The order in which addresses of Consul's HTTP API are asked."""

import pytest

from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.http_address import in_turn

SERVERS = [f"http://10.0.0.{n}:8500" for n in (1, 2, 3)]


def test_a_fleet_begins_with_each_server_alike() -> None:
    """Hosts that have the same addresses do not all ask the first."""
    first = [str(in_turn(SERVERS)[0]) for _ in range(900)]
    assert set(SERVERS) == set(first)
    assert min(map(first.count, SERVERS)) > 200


@pytest.mark.parametrize("agent", ["http://127.0.0.1:8500", "unix:///run/consul.sock"])
def test_this_hosts_agent_is_asked_before_the_servers(agent: str) -> None:
    """As written: the others stand in for it."""
    assert [agent, *SERVERS] == list(map(str, in_turn([agent, *SERVERS])))


def test_an_address_that_is_none_is_an_error() -> None:
    """And no address is no order."""
    assert [] == in_turn([])
    with pytest.raises(ConfigError):
        in_turn([*SERVERS, "ftp://10.0.0.4"])
