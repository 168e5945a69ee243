"""The table of all metrics. The scrape and docs/metrics.md are made from it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A counter's name ends in `_total` where it is scraped."""

    name: str
    type: Literal["counter", "gauge", "summary"]
    help: str
    labels: tuple[str, ...] = ()


METRICS = (
    Metric("consul_ebpf_info", "gauge", "1; the version is a label.", ("version",)),
    Metric("consul_ebpf_attached", "gauge", "Whether the programs are attached: 1, 0."),
    Metric(
        "consul_ebpf_ailments",
        "gauge",
        "What `status` says is wrong, by how bad it is: degraded, failing.",
        ("level",),
    ),
    Metric("consul_ebpf_servers", "gauge", "Consul servers, by state.", ("state",)),
    Metric(
        "consul_ebpf_servers_silent",
        "gauge",
        "Whether no server answers on this service (grpc, dns) though one did before:"
        " 1, 0. The servers keep their states then.",
        ("service",),
    ),
    Metric(
        "consul_ebpf_server_ready",
        "gauge",
        "Whether new connects go to a server: 1, 0. One that died and that Consul lists"
        " no more is 0 for an hour.",
        ("server",),
    ),
    Metric(
        "consul_ebpf_server_connects",
        "counter",
        "Connects that the kernel sent to a server since its slot was filled.",
        ("server",),
    ),
    Metric(
        "consul_ebpf_server_failed",
        "counter",
        "Of these, those soon followed by another one of the same proxy.",
        ("server",),
    ),
    Metric(
        "consul_ebpf_server_open",
        "gauge",
        "Connections of proxies to a server that are established.",
        ("server",),
    ),
    Metric(
        "consul_ebpf_server_moved",
        "counter",
        "Proxies seen to go from a server to another, since the controller's start.",
        ("server",),
    ),
    Metric("consul_ebpf_proxies", "gauge", "Proxies that are programmed."),
    Metric("consul_ebpf_proxies_capacity", "gauge", "Proxies that can be."),
    Metric(
        "consul_ebpf_proxies_with_problems",
        "gauge",
        "Proxies that are not, or not wholly, what they should be; `status` says why.",
    ),
    Metric(
        "consul_ebpf_proxy_connects",
        "counter",
        "Connects of a proxy's Envoy to its VIP.",
        ("proxy",),
    ),
    Metric(
        "consul_ebpf_proxy_failed",
        "counter",
        "Of these, those soon followed by another one.",
        ("proxy",),
    ),
    Metric(
        "consul_ebpf_proxy_open",
        "gauge",
        "Whether its Envoy is connected to a server: 1, 0.",
        ("proxy",),
    ),
    Metric(
        "consul_ebpf_proxy_moved",
        "counter",
        "How often it was seen to go to another server, since the controller's start.",
        ("proxy",),
    ),
    Metric(
        "consul_ebpf_dns_attached",
        "gauge",
        "Whether the programs of DNS are attached: 1, 0; absent where DNS is off.",
    ),
    Metric(
        "consul_ebpf_dns_server_ready",
        "gauge",
        "Whether queries go to a server's DNS port: 1, 0.",
        ("server",),
    ),
    Metric(
        "consul_ebpf_dns_server_queries",
        "counter",
        "Queries that the kernel sent to a server since its slot was filled; of a"
        " connected socket, the first.",
        ("server",),
    ),
    Metric(
        "consul_ebpf_dns_server_unanswered",
        "counter",
        "Of these, those not answered in time, where that can be known.",
        ("server",),
    ),
    Metric(
        "consul_ebpf_dns_moved",
        "counter",
        "Queries led past a server that had not answered the one before.",
    ),
    Metric(
        "consul_ebpf_volumes",
        "gauge",
        "Volumes of this node's pods; absent where `[kubernetes]` is off, as the next"
        " two.",
    ),
    Metric(
        "consul_ebpf_volumes_waiting",
        "gauge",
        "Of these, those that wait, by what for: kernel (a VIP), registration (of the"
        " pod in Consul), token, bootstrap.",
        ("reason",),
    ),
    Metric(
        "consul_ebpf_plugin_registered",
        "gauge",
        "Whether kubelet has registered the node plugin: 1, 0.",
    ),
    Metric(
        "consul_ebpf_events",
        "counter",
        "Events in the controller's log since its start.",
        ("event",),
    ),
    Metric(
        "consul_ebpf_connection_errors",
        "counter",
        "Calls to Consul servers that failed, by gRPC's status.",
        ("error_code",),
    ),
    Metric(
        "consul_ebpf_work_duration_seconds",
        "summary",
        "What the controller does, and how long it takes: discovery (a list of"
        " servers, waiting included), probe, plan, apply (to the kernel), render (the"
        " files), login, central (a question about a bootstrap), publish (a pod's"
        " volume).",
        ("work",),
    ),
    Metric(
        "consul_ebpf_work_age_seconds",
        "gauge",
        "Seconds since it was last done with success.",
        ("work",),
    ),
    Metric(
        "consul_ebpf_logins_queued",
        "gauge",
        "Logins of proxies that wait for their turn.",
    ),
    Metric(
        "consul_ebpf_logins_failing",
        "gauge",
        "Logins that failed last, and are tried again; the host's own is among them.",
    ),
    Metric(
        "consul_ebpf_token_age_seconds",
        "gauge",
        "Seconds since a login's token was made; `proxy` is empty for the host's.",
        ("proxy",),
    ),
    Metric(
        "consul_ebpf_bootstrap_age_seconds",
        "gauge",
        "Seconds since a proxy's bootstrap was written.",
        ("proxy",),
    ),
    Metric(
        "consul_dataplane_envoy_connected",
        "gauge",
        "consul-dataplane's, with a label: whether an Envoy is connected to a server.",
        ("proxy",),
    ),
    Metric(
        "consul_dataplane_consul_connected",
        "gauge",
        "consul-dataplane's: whether a server answers.",
    ),
    Metric(
        "consul_dataplane_connection_errors",
        "gauge",
        "consul-dataplane's: 1 for each kind of error that a call to a server has met;"
        " `consul_ebpf_connection_errors_total` counts them.",
        ("error_code",),
    ),
    Metric(
        "consul_dataplane_discover_servers_duration",
        "summary",
        "consul-dataplane's, in milliseconds: the work `discovery`.",
    ),
    Metric(
        "consul_dataplane_login_duration",
        "summary",
        "consul-dataplane's, in milliseconds: the work `login`.",
    ),
)


INTRODUCTION = """\
# Metrics

Generated by `python -m consul_ebpf.views.metrics`; do not edit.

`GET /metrics` of the local endpoint (`api.listen` for TCP) answers in Prometheus' text
format. What the kernel counts outlives the controller; what says so begins anew with
it.

Those named `consul_dataplane_` are consul-dataplane's own, where they mean the same, so
that dashboards and alerts go on working. Its `consul_dataplane_connect_duration` is not
among them: nothing of ours connects for an Envoy.

| name | type | labels | meaning |
|---|---|---|---|"""


def scraped(metric: Metric) -> list[str]:
    """Return the names of a metric's series as Prometheus sees them."""
    match metric.type:
        case "counter":
            return [f"{metric.name}_total"]
        case "summary":
            return [f"{metric.name}_count", f"{metric.name}_sum"]
    return [metric.name]


def document() -> str:
    """Return docs/metrics.md."""
    lines = [INTRODUCTION]
    for metric in METRICS:
        names = "<br>".join(f"`{name}`" for name in scraped(metric))
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| {names} | {metric.type} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"
