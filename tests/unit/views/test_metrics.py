"""Every metric is in the table, in the document, and in what is scraped."""

import json
import re
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from consul_ebpf import KernelState, Server, ServerState, SlottedServer, Table, Vip
from consul_ebpf.base.timing import Duration
from consul_ebpf.controller.problems import Problems
from consul_ebpf.model.values import (
    PluginState,
    PodVolume,
    ServerCounters,
    VipCounters,
)
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.metrics.names import METRICS, document, scraped
from consul_ebpf.views.metrics.text import text
from consul_ebpf.views.metrics.values import values
from consul_ebpf.views.snapshot import Inside, Remembered, ServiceAccount, Snapshot
from consul_ebpf.views.timeline import Timeline

ROOT = Path(__file__).parents[3]

WEB, OTHER = (Vip(IPv4Address(f"127.64.0.{n}"), 8502) for n in (1, 2))
TABLES = KernelState(
    Table(
        {
            0: SlottedServer(0, Server.at("10.0.0.1", 8502), ServerState.READY),
            1: SlottedServer(1, Server.at("fd00::1", 8502), ServerState.FAILING),
        },
        {WEB: (0,), OTHER: ()},
    ),
    servers={0: ServerCounters(5, 1), 1: ServerCounters(3, 3)},
    vips={WEB: VipCounters(4, 0, ((11, 0), (12, 0)), 2), OTHER: VipCounters()},
    capacity=65536,
)
NAMES = KernelState(
    Table({0: SlottedServer(0, Server.at("10.0.0.1", 8600), ServerState.READY)}),
    servers={0: ServerCounters(7, 2)},
    vips={Vip(IPv4Address("127.64.0.53"), 53): VipCounters(8, 0, (), 2)},
)
SNAPSHOT = Snapshot(
    1000.0,
    {
        "grpc": ServiceAccount(TABLES, cgroup="/sys/fs/cgroup", attached=True),
        "dns": ServiceAccount(NAMES, attached=True),
    },
    frozenset({11, 12}),
    Remembered(
        {WEB: ("web", WEB)}, volumes=(PodVolume("web", "ns/web-1", "u", False),)
    ),
    pid=1,
    events={"cut": 3},
    inside=Inside(
        version="0.1.0",
        durations={
            "login": Duration(2, 0.5, 990.0),
            "discovery": Duration(1, 0.1, 999.0),
        },
        errors={"UNAVAILABLE": 2, "DEADLINE_EXCEEDED": 1},
        moved={"web": 3},
        moved_from={"10.0.0.1:8502": 1},
        tokens={"web": 900.0},
        plugin=PluginState(serving=True, registered=True),
    ),
)
BOOTSTRAPS = {"web": 940.0}


def test_every_metric_has_values_and_every_value_a_metric() -> None:
    """With as many labels as the table says."""
    found = values(SNAPSHOT, BOOTSTRAPS)
    assert set(found) == {metric.name for metric in METRICS}
    for metric in METRICS:
        for labels, _ in found[metric.name]:
            assert len(labels) == len(metric.labels), metric.name


def test_the_text() -> None:
    """As Prometheus reads it."""
    body, content_type = text(SNAPSHOT, BOOTSTRAPS)
    lines = body.decode().splitlines()
    assert content_type.startswith("text/plain")
    for line in (
        'consul_ebpf_server_ready{server="10.0.0.1:8502"} 1.0',
        'consul_ebpf_server_failed_total{server="[fd00::1]:8502"} 3.0',
        'consul_ebpf_server_open{server="10.0.0.1:8502"} 2.0',
        'consul_ebpf_servers{state="failing"} 1.0',
        'consul_ebpf_servers_silent{service="grpc"} 0.0',
        'consul_ebpf_proxy_connects_total{proxy="web"} 4.0',
        'consul_ebpf_proxy_failed_total{proxy="web"} 2.0',
        'consul_ebpf_proxy_moved_total{proxy="web"} 3.0',
        'consul_ebpf_proxy_open{proxy="127.64.0.2"} 0.0',
        'consul_ebpf_work_duration_seconds_sum{work="login"} 0.5',
        'consul_ebpf_work_age_seconds{work="login"} 10.0',
        'consul_ebpf_token_age_seconds{proxy="web"} 100.0',
        'consul_ebpf_bootstrap_age_seconds{proxy="web"} 60.0',
        "consul_ebpf_dns_attached 1.0",
        'consul_ebpf_dns_server_ready{server="10.0.0.1:8600"} 1.0',
        'consul_ebpf_dns_server_queries_total{server="10.0.0.1:8600"} 7.0',
        'consul_ebpf_dns_server_unanswered_total{server="10.0.0.1:8600"} 2.0',
        "consul_ebpf_dns_moved_total 2.0",
        "consul_ebpf_volumes 1.0",
        'consul_ebpf_volumes_waiting{reason="kernel"} 1.0',
        'consul_ebpf_volumes_waiting{reason="token"} 0.0',
        "consul_ebpf_plugin_registered 1.0",
        'consul_ebpf_events_total{event="cut"} 3.0',
        'consul_ebpf_connection_errors_total{error_code="UNAVAILABLE"} 2.0',
        'consul_dataplane_connection_errors{error_code="DeadlineExceeded"} 1.0',
        "consul_dataplane_consul_connected 1.0",
        "consul_dataplane_login_duration_count 2.0",
        "consul_dataplane_login_duration_sum 500.0",  # milliseconds
        'consul_dataplane_envoy_connected{proxy="web"} 1.0',
    ):
        assert line in lines, line
    names = {re.split(r"[ {]", line)[0] for line in lines if not line.startswith("#")}
    assert names == {name for metric in METRICS for name in scraped(metric)}


def test_servers_that_are_all_silent() -> None:
    """None is ready for anybody, whatever state it keeps."""
    remembered = replace(
        SNAPSHOT.remembered, problems=Problems(silent={"grpc": 1.0, "dns": 1.0})
    )
    body, _ = text(replace(SNAPSHOT, remembered=remembered), BOOTSTRAPS)
    lines = body.decode().splitlines()
    assert 'consul_ebpf_servers_silent{service="grpc"} 1.0' in lines
    assert 'consul_ebpf_servers_silent{service="dns"} 1.0' in lines
    assert "consul_dataplane_consul_connected 0.0" in lines


def test_the_document_is_generated() -> None:
    """`python -m consul_ebpf.views.metrics > docs/metrics.md`"""
    assert (ROOT / "docs" / "metrics.md").read_text() == document()


def test_the_dashboard_uses_what_there_is() -> None:
    """Every name and label in its expressions is in the table."""
    labels = {
        name: set(metric.labels) for metric in METRICS for name in scraped(metric)
    }
    dashboard = json.loads(
        (ROOT / "deploy" / "grafana" / "consul-ebpf.json").read_text()
    )
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel["targets"]
    ]
    assert len(expressions) > 10
    for expression in expressions:
        names = re.findall(r"consul_\w+", expression)
        assert names, expression
        for name in names:
            assert name in labels, f"{name} in {expression}"
        known = set().union(*(labels[name] for name in names)) | {"instance", "job"}
        groups = re.findall(r"(?:by|without) ?\(([^)]*)\)", expression)
        used = {each.strip() for group in groups for each in group.split(",")}
        used |= set(re.findall(r"[{,] ?(\w+) ?=", expression))
        assert used - known == set(), expression
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                names = re.findall(r"consul_\w+", target["expr"])
                assert label in set().union(*(labels[n] for n in names)) | {"instance"}


def test_a_server_that_consul_forgot_is_still_not_ready() -> None:
    """The alert for a dead server asks for its series."""
    died = [
        Happening(990.0, "server_failing", "10.0.0.9:8502"),
        Happening(995.0, "server_gone", "10.0.0.9:8502"),
    ]
    remembered = replace(SNAPSHOT.remembered, timeline=Timeline(died))
    body, _ = text(replace(SNAPSHOT, remembered=remembered), BOOTSTRAPS)
    line = 'consul_ebpf_server_ready{server="10.0.0.9:8502"} 0.0'
    assert line in body.decode().splitlines()
