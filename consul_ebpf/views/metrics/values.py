"""The metrics' values, from what is known anyway."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from consul_ebpf.base.timing import Duration, Work
from consul_ebpf.model.values import ServerState, host_port
from consul_ebpf.views.snapshot import Snapshot

Labels = tuple[str, ...]
"""Values of a metric's labels, in their order."""

Sample = tuple[Labels, float | Duration]


@dataclass(frozen=True, slots=True)
class Known:
    """What the metrics are made of."""

    snapshot: Snapshot
    version: str = ""
    now: float = 0.0
    """Unix time."""
    events: Mapping[str, int] = field(default_factory=dict)
    durations: Mapping[Work, Duration] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    moved: Mapping[str, int] = field(default_factory=dict)
    """By proxy."""
    moved_from: Mapping[str, int] = field(default_factory=dict)
    """By server."""
    tokens: Mapping[str, float] = field(default_factory=dict)
    """Unix times at which the logins' tokens were made, by proxy."""
    bootstraps: Mapping[str, float] = field(default_factory=dict)
    """Unix times at which the bootstraps were written, by proxy."""


def values(known: Known) -> dict[str, list[Sample]]:
    """Return the samples of every metric, by its name. Pure."""
    found: dict[str, list[Sample]] = {}
    for name, labels, value in _all(known):
        found.setdefault(name, []).append((labels, value))
    return found


def _all(known: Known) -> Iterator[tuple[str, Labels, float | Duration]]:
    snapshot, now = known.snapshot, known.now
    yield "consul_ebpf_info", (known.version,), 1
    yield "consul_ebpf_attached", (), float(snapshot.kernel.attached)
    yield from _servers(known)
    yield from _proxies(known)
    for event, number in known.events.items():
        yield "consul_ebpf_events", (event,), number
    for work, duration in known.durations.items():
        yield "consul_ebpf_work_duration_seconds", (work,), duration
        yield "consul_ebpf_work_age_seconds", (work,), now - duration.last
    for proxy, made in known.tokens.items():
        yield "consul_ebpf_token_age_seconds", (proxy,), now - made
    for proxy, written in known.bootstraps.items():
        yield "consul_ebpf_bootstrap_age_seconds", (proxy,), now - written
    for code, number in known.errors.items():
        yield "consul_ebpf_connection_errors", (code,), number
        yield "consul_dataplane_connection_errors", (_as_in_go(code),), 1
    for work, name in (
        ("discovery", "consul_dataplane_discover_servers_duration"),
        ("login", "consul_dataplane_login_duration"),
    ):
        if work in known.durations:
            seen = known.durations[work]
            yield name, (), replace(seen, seconds=seen.seconds * 1000)  # their unit


def _as_in_go(code: str) -> str:
    """Spell gRPC's `DEADLINE_EXCEEDED` as consul-dataplane does, `DeadlineExceeded`."""
    if code == "CANCELLED":
        return "Canceled"
    return "".join(word.title() for word in code.split("_"))


def _servers(known: Known) -> Iterator[tuple[str, Labels, float]]:
    servers = known.snapshot.servers
    states = Counter(each.state for each in servers)
    for state in ServerState:
        yield "consul_ebpf_servers", (state.value,), states[state.value]
    ready = states[ServerState.READY.value]
    yield "consul_dataplane_consul_connected", (), float(ready > 0)
    for each in servers:
        server = (host_port(each.address, each.port),)
        yield "consul_ebpf_server_ready", server, float(each.state == "ready")
        yield "consul_ebpf_server_connects", server, each.connects
        yield "consul_ebpf_server_failed", server, each.failures
        yield "consul_ebpf_server_open", server, each.active
        yield "consul_ebpf_server_moved", server, known.moved_from.get(server[0], 0)


def _proxies(known: Known) -> Iterator[tuple[str, Labels, float]]:
    snapshot = known.snapshot
    yield "consul_ebpf_proxies", (), len(snapshot.proxies)
    yield "consul_ebpf_proxies_capacity", (), snapshot.kernel.capacity
    for each in snapshot.proxies:
        proxy = (each.id or each.vip,)
        yield "consul_ebpf_proxy_connects", proxy, each.connects
        yield "consul_ebpf_proxy_failed", proxy, each.failures
        yield "consul_ebpf_proxy_open", proxy, float(each.active)
        yield "consul_ebpf_proxy_moved", proxy, known.moved.get(proxy[0], 0)
        yield "consul_dataplane_envoy_connected", proxy, float(each.active)
