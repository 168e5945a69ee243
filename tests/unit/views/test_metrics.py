"""Every metric is in the table, in the document, and in what is scraped."""

import json
import re
from pathlib import Path

from consul_ebpf.base.timing import Duration
from consul_ebpf.views.metrics.names import METRICS, document, scraped
from consul_ebpf.views.metrics.text import text
from consul_ebpf.views.metrics.values import Known, values
from consul_ebpf.views.snapshot import (
    ControllerStatus,
    KernelStatus,
    ProxyStatus,
    ServerStatus,
    Snapshot,
)

ROOT = Path(__file__).parents[3]

SNAPSHOT = Snapshot(
    servers=[
        ServerStatus("10.0.0.1", 8502, 0, "ready", 5, 2, 1),
        ServerStatus("fd00::1", 8502, 1, "failing", 3, 0, 3),
    ],
    proxies=[
        ProxyStatus(
            "web", "127.64.0.1", ["10.0.0.1:8502"], 4, "10.0.0.1:8502", True, [], 2
        ),
        ProxyStatus("", "127.64.0.2", [], 0, "", False, []),
    ],
    kernel=KernelStatus(True, "/sys/fs/cgroup", [], 65536),
    controller=ControllerStatus(True, 1, {}),
)
KNOWN = Known(
    snapshot=SNAPSHOT,
    version="0.1.0",
    now=1000.0,
    events={"cut": 3},
    durations={"login": Duration(2, 0.5, 990.0), "discovery": Duration(1, 0.1, 999.0)},
    errors={"UNAVAILABLE": 2, "DEADLINE_EXCEEDED": 1},
    moved={"web": 3},
    moved_from={"10.0.0.1:8502": 1},
    tokens={"web": 900.0},
    bootstraps={"web": 940.0},
)


def test_every_metric_has_values_and_every_value_a_metric() -> None:
    """With as many labels as the table says."""
    found = values(KNOWN)
    assert set(found) == {metric.name for metric in METRICS}
    for metric in METRICS:
        for labels, _ in found[metric.name]:
            assert len(labels) == len(metric.labels), metric.name


def test_the_text() -> None:
    """As Prometheus reads it."""
    body, content_type = text(KNOWN)
    lines = body.decode().splitlines()
    assert content_type.startswith("text/plain")
    for line in (
        'consul_ebpf_server_ready{server="10.0.0.1:8502"} 1.0',
        'consul_ebpf_server_failed_total{server="[fd00::1]:8502"} 3.0',
        'consul_ebpf_servers{state="failing"} 1.0',
        'consul_ebpf_proxy_connects_total{proxy="web"} 4.0',
        'consul_ebpf_proxy_failed_total{proxy="web"} 2.0',
        'consul_ebpf_proxy_moved_total{proxy="web"} 3.0',
        'consul_ebpf_proxy_open{proxy="127.64.0.2"} 0.0',
        'consul_ebpf_work_duration_seconds_sum{work="login"} 0.5',
        'consul_ebpf_work_age_seconds{work="login"} 10.0',
        'consul_ebpf_token_age_seconds{proxy="web"} 100.0',
        'consul_ebpf_bootstrap_age_seconds{proxy="web"} 60.0',
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
