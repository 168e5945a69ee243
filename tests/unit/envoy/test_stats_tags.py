"""The labels that are cut out of Envoy's metric names."""

import re

import pytest

from consul_ebpf.envoy.stats_tags import REGEXES, stats_config
from consul_ebpf.model.values import BootstrapParams, Proxy

TRUST = "e5b08d03-bfc3-c870-1833-baddb116e648"
LONG = "f8f8~v2.pong.default.partA.dc2"


def labels(metric: str) -> dict[str, str]:
    """As Envoy does: the inner group is the value."""
    found = {name: re.search(regex, metric) for name, regex in REGEXES.items()}
    return {
        name.removeprefix("consul."): match[2]
        for name, match in found.items()
        if match and match[2] is not None
    }


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (
            f"cluster.pong.default.dc2.internal.{TRUST}.consul.bind_errors",
            {
                "destination.service": "pong",
                "destination.namespace": "default",
                "destination.datacenter": "dc2",
                "destination.routing_type": "internal",
                "destination.trust_domain": TRUST,
                "destination.target": "pong.default.dc2",
                "destination.full_target": f"pong.default.dc2.internal.{TRUST}",
            },
        ),
        (
            f"cluster.passthrough~{LONG}.internal-v1.{TRUST}.consul.bind_errors",
            {
                "destination.custom_hash": "f8f8",
                "destination.service_subset": "v2",
                "destination.service": "pong",
                "destination.namespace": "default",
                "destination.partition": "partA",
                "destination.datacenter": "dc2",
                "destination.routing_type": "internal-v1",
                "destination.trust_domain": TRUST,
                "destination.target": LONG,
                "destination.full_target": f"{LONG}.internal-v1.{TRUST}",
            },
        ),
        (
            "http.upstream_peered.web.frontend.cloudpeer.downstream_cx_total",
            {
                "upstream.service": "web",
                "upstream.namespace": "frontend",
                "upstream.peer": "cloudpeer",
            },
        ),
        (
            "tcp.upstream.db.dc1.downstream_cx_total",
            {"upstream.service": "db", "upstream.datacenter": "dc1"},
        ),
        (
            "http.upstream.db.front.east.dc1.downstream_cx_total",
            {
                "upstream.service": "db",
                "upstream.namespace": "front",
                "upstream.partition": "east",
                "upstream.datacenter": "dc1",
            },
        ),
        ("cluster.consul-dataplane.upstream_cx_total", {}),
        ("listener.0.0.0.0_8080.downstream_cx_total", {}),
    ],
)
def test_labels(metric: str, expected: dict[str, str]) -> None:
    """Consul's names in, the labels of its dashboards out."""
    assert expected == labels(metric)


def test_peer_is_the_part_before_external() -> None:
    """A cluster of a peer has no datacenter."""
    found = labels(f"cluster.pong.default.cloud.external.{TRUST}.consul.bind_errors")
    assert found["destination.peer"] == "cloud"
    assert "destination.datacenter" not in found


def test_empty_fixed_tags_are_left_out() -> None:
    """What is not known is no label, rather than an empty one."""
    params = BootstrapParams(namespace="", partition="east")
    tags = stats_config(Proxy("web-1", "n"), params, [])["stats_tags"]
    assert tags[len(REGEXES) :] == [
        {"tag_name": "local_cluster", "fixed_value": "web-1"},
        {"tag_name": "consul.source.partition", "fixed_value": "east"},
    ]
