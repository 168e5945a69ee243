"""The metrics' values: a snapshot, and when the bootstraps were written."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from consul_ebpf.base.timing import Duration, Work
from consul_ebpf.model.values import DNS_NAME, GRPC, ServerState, host_port
from consul_ebpf.views.ailments import Level
from consul_ebpf.views.dns import DnsStatus
from consul_ebpf.views.pods import NodeStatus, Reason, waiting
from consul_ebpf.views.snapshot import Snapshot
from consul_ebpf.views.status import Status, status_of
from consul_ebpf.views.verdict import judge

Labels = tuple[str, ...]
"""Values of a metric's labels, in their order."""

Sample = tuple[Labels, float | Duration]


def values(
    snapshot: Snapshot, bootstraps: Mapping[str, float]
) -> dict[str, list[Sample]]:
    """Return the samples of every metric, by its name. Pure.

    Args:
        snapshot: taken within the controller.
        bootstraps: Unix times at which the bootstraps were written, by proxy name.
    """
    found: dict[str, list[Sample]] = {}
    for name, labels, value in _all(snapshot, bootstraps):
        found.setdefault(name, []).append((labels, value))
    return found


def _all(
    snapshot: Snapshot, bootstraps: Mapping[str, float]
) -> Iterator[tuple[str, Labels, float | Duration]]:
    shown, inside, now = status_of(snapshot), snapshot.inside, snapshot.at
    yield "consul_ebpf_info", (inside.version,), 1
    yield "consul_ebpf_attached", (), float(shown.kernel.attached)
    found = Counter(each.level for each in judge(shown).ailments)
    for level in (Level.DEGRADED, Level.FAILING):
        yield "consul_ebpf_ailments", (level.value,), found[level]
    yield from _servers(shown, inside.moved_from)
    yield from _proxies(shown, inside.moved)
    if shown.dns is not None:
        yield from _dns(shown.dns)
    if shown.kubernetes is not None:
        yield from _node(shown.kubernetes, waiting(snapshot))
    for event, number in snapshot.events.items():
        yield "consul_ebpf_events", (event,), number
    yield from _works(inside.durations, now)
    yield "consul_ebpf_logins_queued", (), inside.logins_queued
    yield "consul_ebpf_logins_failing", (), inside.logins_failing
    for key, made in inside.tokens.items():
        yield "consul_ebpf_token_age_seconds", (inside.proxies.name(key),), now - made
    for proxy, written in bootstraps.items():
        yield "consul_ebpf_bootstrap_age_seconds", (proxy,), now - written
    for code, number in inside.errors.items():
        yield "consul_ebpf_connection_errors", (code,), number
        yield "consul_dataplane_connection_errors", (_as_in_go(code),), 1


def _works(
    durations: Mapping[Work, Duration], now: float
) -> Iterator[tuple[str, Labels, float | Duration]]:
    for work, duration in durations.items():
        yield "consul_ebpf_work_duration_seconds", (work,), duration
        yield "consul_ebpf_work_age_seconds", (work,), now - duration.last
    for work, name in _THEIRS.items():
        if work in durations:
            seen = durations[work]
            yield name, (), replace(seen, seconds=seen.seconds * 1000)  # their unit


_THEIRS: Mapping[Work, str] = {
    "discovery": "consul_dataplane_discover_servers_duration",
    "login": "consul_dataplane_login_duration",
}
"""consul-dataplane's names of work that it does, too."""


def _node(
    node: NodeStatus, waits: Mapping[Reason, int]
) -> Iterator[tuple[str, Labels, float]]:
    yield "consul_ebpf_volumes", (), len(node.volumes)
    for reason, number in waits.items():
        yield "consul_ebpf_volumes_waiting", (reason,), number
    yield "consul_ebpf_plugin_registered", (), float(node.registered is True)


def _as_in_go(code: str) -> str:
    """Spell gRPC's `DEADLINE_EXCEEDED` as consul-dataplane does, `DeadlineExceeded`."""
    if code == "CANCELLED":
        return "Canceled"
    return "".join(word.title() for word in code.split("_"))


def _servers(
    shown: Status, moved_from: Mapping[str, int]
) -> Iterator[tuple[str, Labels, float]]:
    states = Counter(each.state for each in shown.servers)
    for state in ServerState:
        yield "consul_ebpf_servers", (state.value,), states[state.value]
    for service in (GRPC.name, *([DNS_NAME] if shown.dns else [])):
        yield "consul_ebpf_servers_silent", (service,), float(service in shown.silent)
    ready = states[ServerState.READY.value] if GRPC.name not in shown.silent else 0
    yield "consul_dataplane_consul_connected", (), float(ready > 0)
    for each in shown.servers:
        server = (host_port(each.address, each.port),)
        yield "consul_ebpf_server_ready", server, float(each.state == "ready")
        yield "consul_ebpf_server_connects", server, each.connects
        yield "consul_ebpf_server_failed", server, each.failures
        yield "consul_ebpf_server_open", server, each.active
        yield "consul_ebpf_server_moved", server, moved_from.get(server[0], 0)
    for lost in shown.lost:
        yield "consul_ebpf_server_ready", (lost.server,), 0.0


def _dns(shown: DnsStatus) -> Iterator[tuple[str, Labels, float]]:
    yield "consul_ebpf_dns_attached", (), float(shown.attached)
    yield "consul_ebpf_dns_moved", (), shown.moved
    for each in shown.servers:
        server = (host_port(each.address, each.port),)
        yield "consul_ebpf_dns_server_ready", server, float(each.state == "ready")
        yield "consul_ebpf_dns_server_queries", server, each.queries
        yield "consul_ebpf_dns_server_unanswered", server, each.unanswered


def _proxies(
    shown: Status, moved: Mapping[str, int]
) -> Iterator[tuple[str, Labels, float]]:
    yield "consul_ebpf_proxies", (), len(shown.proxies)
    yield "consul_ebpf_proxies_capacity", (), shown.kernel.capacity
    yield "consul_ebpf_proxies_with_problems", (), len(shown.problems)
    for each in shown.proxies:
        proxy = (each.id or each.vip,)
        yield "consul_ebpf_proxy_connects", proxy, each.connects
        yield "consul_ebpf_proxy_failed", proxy, each.failures
        yield "consul_ebpf_proxy_open", proxy, float(each.active)
        yield "consul_ebpf_proxy_moved", proxy, moved.get(proxy[0], 0)
        yield "consul_dataplane_envoy_connected", proxy, float(each.active)
