"""The model of a fleet: figures that can be checked by hand."""

from dataclasses import replace

import pytest

from tests.bench.fleet.model import Cost, Costs, Design, Fleet, Share, load_of

ONE = Fleet(hosts=1, pods=10, servers=1)
MANY = Fleet(hosts=10_000, pods=10, servers=5)

DESIGN = Design(
    calls={"probe": Share(server=1.0), "params": Share(pod=1 / 60)},
    costs={
        "probe": Costs(Cost(160, 250), Cost(60, 200)),
        "params": Costs(Cost(400, 650), Cost(300, 600)),
    },
    opened={"blocking query": Share(host=1), "xDS stream": Share(pod=1)},
    connections=Share(server=1, host=1, pod=1),
    idle_size=2.0,
)


def test_one_host_on_one_server_is_what_was_measured() -> None:
    """Nothing is added to a host's own figures."""
    load = load_of(DESIGN, ONE)
    assert {"probe": 1.0, "params": pytest.approx(10 / 60)} == load.calls
    assert {"blocking query": 1.0, "xDS stream": 10.0} == load.opened
    assert 12.0 == load.connections
    assert load.size == pytest.approx(12 * 2 + 250 + 650 / 6)
    assert load.cores == pytest.approx(160e-6 + 400e-6 / 6)


def test_each_server_is_probed_by_all_hosts_and_shares_the_rest() -> None:
    """More servers relieve each other of proxies' calls, not of probes."""
    load = load_of(DESIGN, MANY)
    assert 10_000 == load.calls["probe"]
    assert load.calls["params"] == pytest.approx(10_000 * 10 / 60 / 5)
    assert 2000 == load.opened["blocking query"]
    assert 20_000 == load.opened["xDS stream"]
    assert load.calls_together == pytest.approx(10_000 + 10_000 / 30)


@pytest.mark.parametrize("times", [2, 50, 10_000])
def test_it_is_linear_in_hosts(times: int) -> None:
    """In all but what a call costs, which is less in a larger fleet."""
    one, all_ = load_of(DESIGN, ONE), load_of(DESIGN, replace(ONE, hosts=times))
    assert all_.calls_together == pytest.approx(times * one.calls_together)
    assert all_.connections == pytest.approx(times * one.connections)


@pytest.mark.parametrize("servers", [3, 5])
def test_what_a_dead_server_had_goes_to_the_others_alike(servers: int) -> None:
    """What each host has at every server goes nowhere."""
    fleet = replace(MANY, servers=servers)
    streams = Share(server=1, pod=1)
    each = streams.moved_to_each(fleet)
    assert each * (servers - 1) == pytest.approx(10_000 * 10 / servers)
    left = Share(pod=1).at_each_server(fleet) + each
    assert left == pytest.approx(10_000 * 10 / (servers - 1))


def test_a_call_costs_less_where_there_are_many() -> None:
    """By the logarithm of their rate; beyond what was measured as at its end."""
    probe = DESIGN.costs["probe"]
    assert Cost(160, 250) == probe.at(0.0) == probe.at(50.0)
    assert Cost(60, 200) == probe.at(1000.0) == probe.at(1e6)
    assert pytest.approx(110) == probe.at((50 * 1000) ** 0.5).cpu_us
