"""Our bootstrap and consul-dataplane's own, field by field.

The comparison runs where its binary is given (`$CONSUL_DATAPLANE_BIN`); what it is
done with is tested anyway.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.model.values import PlacedProxy, Prometheus, Proxy, ProxyTelemetry, Vip
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.processes import Child, wait_until
from tests.lab.rpc import params_of

DATAPLANE = os.environ.get("CONSUL_DATAPLANE_BIN", "")

INTENDED = (
    # Straight to the servers, so a VIP instead of a socket of consul-dataplane's ...
    "static_resources.clusters[consul-dataplane].load_assignment",
    # ... and what a direct connection needs, in fields that are not deprecated.
    "static_resources.clusters[consul-dataplane].http2_protocol_options",
    "static_resources.clusters[consul-dataplane].typed_extension_protocol_options",
    "dynamic_resources.ads_config.grpc_services",
    # Envoy's own name for it.
    (
        "static_resources.listeners[envoy_prometheus_metrics_listener]"
        ".filter_chains.0.transport_socket.name"
    ),
    # Certificates of the metrics' listener that are renewed are taken up.
    "static_resources.secrets[prometheus_cert].tls_certificate.watched_directory",
    "static_resources.secrets[prometheus_validation_context].validation_context.watched",
    # The same as its http2_protocol_options, in the field that is not deprecated.
    "static_resources.clusters[consul_telemetry_collector_loopback].typed_extension",
)
"""Where the two differ on purpose, and why."""


def normal(value: Any) -> Any:
    """Write protobuf's JSON one way: snake case, and what is a default left out."""
    if isinstance(value, list):
        return [normal(each) for each in value]
    if not isinstance(value, dict):
        return value
    table = {
        re.sub("(?<=[a-z])([A-Z])", r"_\1", key).lower(): normal(inner)
        for key, inner in value.items()
    }
    return {key: inner for key, inner in table.items() if inner not in (False, {}, [])}


def differences(theirs: Any, ours: Any, at: str = "") -> Iterator[str]:
    """Yield the paths at which two bootstraps differ; named things by their names."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in sorted(theirs.keys() | ours.keys(), key=str):
            path = f"{at}.{key}".removeprefix(".")
            if key not in theirs or key not in ours:
                yield path
            else:
                yield from differences(theirs[key], ours[key], path)
    elif isinstance(theirs, list) and isinstance(ours, list):
        yield from differences(_by_name(theirs), _by_name(ours), at)
    elif theirs != ours:
        yield at


def _by_name(items: list[Any]) -> Any:
    names = [
        each.get("name") or each.get("tag_name")
        for each in items
        if isinstance(each, dict)
    ]
    if names and all(names) and len(set(names)) == len(items):
        return {f"[{name}]": each for name, each in zip(names, items, strict=True)}
    return dict(enumerate(items))


def paths(theirs: Any, ours: Any) -> set[str]:
    found = differences(normal(theirs), normal(ours))
    return {path.replace(".[", "[") for path in found}


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ({"a": 1}, {"a": 1}, set()),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a.b"}),
        ({"a": 1}, {}, {"a"}),
        ({"l": [{"name": "x", "v": 1}]}, {"l": [{"name": "x", "v": 2}]}, {"l[x].v"}),
        ({"l": [{"name": "x"}]}, {"l": [{"name": "y"}]}, {"l[x]", "l[y]"}),
        ({"l": [1, 2]}, {"l": [1, 3]}, {"l.1"}),
    ],
)
def test_differences(theirs: Any, ours: Any, expected: set[str]) -> None:
    """Every one is found, and nothing else."""
    assert paths(theirs, ours) == expected


METRICS = {
    "envoy_prometheus_bind_addr": "127.0.0.1:20200",
    "envoy_stats_bind_addr": "127.0.0.1:20201",
    "envoy_dogstatsd_url": "udp://127.0.0.1:8125",
    "envoy_statsd_url": "udp://127.0.0.1:8126",
    "envoy_stats_tags": ["canary", "team=blue"],
    "envoy_stats_flush_interval": "10s",
}
REST = {
    "envoy_extra_static_clusters_json": '{"name": "extra", "type": "STATIC"}',
    "envoy_extra_static_listeners_json": (
        '{"name": "extra", "address": {"pipe": {"path": "/x"}}, "filter_chains": [{}]}'
    ),
    "envoy_extra_stats_sinks_json": (
        '{"name": "extra", "typed_config": {"@type": "type.googleapis.com/extra"}}'
    ),
    "envoy_stats_config_json": '{"use_all_default_tags": false}',
    "envoy_tracing_json": (
        '{"http": {"name": "extra", "typed_config":'
        ' {"@type": "type.googleapis.com/extra"}}}'
    ),
    "envoy_telemetry_collector_bind_socket_dir": "/tmp/consul",
    "envoy_dogstatsd_url": "unix:///run/statsd.sock",
}
READY = "-envoy-ready-bind-address 127.0.0.1 -envoy-ready-bind-port 20202"
SCRAPED = "-telemetry-prom-scrape-path /scraped -telemetry-prom-ca-certs-path /dev/null"
SCRAPED += " -telemetry-prom-cert-file /dev/null -telemetry-prom-key-file /dev/null"
MERGED = Prometheus(
    scrape_path="/scraped",
    backend_port=20100,  # there is a server of consul-dataplane's own
    ca_certs="/dev/null",
    cert="/dev/null",
    key="/dev/null",
)


@pytest.mark.consul
@pytest.mark.skipif(not DATAPLANE, reason="no consul-dataplane: CONSUL_DATAPLANE_BIN")
@pytest.mark.parametrize(
    ("config", "flags", "renderer"),
    [
        ({}, "", EnvoyBootstrap()),
        (
            METRICS,
            "",
            EnvoyBootstrap(
                telemetry=ProxyTelemetry(prometheus=Prometheus("/metrics", 20100))
            ),
        ),
        (
            # No other listener: with two, consul-dataplane repeats the secrets.
            {"envoy_prometheus_bind_addr": "127.0.0.1:20200"},
            SCRAPED,
            EnvoyBootstrap(telemetry=ProxyTelemetry(prometheus=MERGED)),
        ),
        (
            REST,
            f"{READY} -envoy-admin-bind-port 19007",
            EnvoyBootstrap(admin=("127.0.0.1", 19007), ready=("127.0.0.1", 20202)),
        ),
        (
            METRICS,
            "-telemetry-use-central-config=false",
            EnvoyBootstrap(telemetry=ProxyTelemetry(use_central_config=False)),
        ),
    ],
    ids=["nothing", "metrics", "metrics over TLS", "the rest", "not central"],
)
async def test_only_the_intended_differences(
    consul_bin: Path,
    tmp_path: Path,
    config: dict[str, Any],
    flags: str,
    renderer: EnvoyBootstrap,
) -> None:
    """Against the same server, with access logs, of a sidecar and of a gateway."""
    with ConsulCluster(consul_bin, size=1) as cluster:
        logs = {"Enabled": True, "JSONFormat": '{"start": "%START_TIME%"}'}
        entry = {"Kind": "proxy-defaults", "Name": "global", "Config": config}
        cluster.call("PUT", "/v1/config", {**entry, "AccessLogs": logs})
        service = {"Kind": "mesh-gateway", "ID": "gate", "Service": "gate", "Port": 1}
        body = {"Node": "host1-virtual", "Address": "127.0.0.1", "Service": service}
        cluster.call("PUT", "/v1/catalog/register", body)
        for id_ in (cluster.register_proxy("web"), "gate"):
            proxy = Proxy(id_, "host1-virtual")
            (tmp_path / id_).mkdir()
            options = flags.split()
            theirs = dataplanes(cluster.addresses[0], proxy, tmp_path / id_, options)
            placed = PlacedProxy(proxy, Vip(IPv4Address("127.64.0.1"), 8502))
            ours = renderer.render(placed, await params_of(cluster, proxy))
            found = {p for p in paths(theirs, ours) if not p.startswith(INTENDED)}
            assert found == set()


def dataplanes(
    server: str, proxy: Proxy, directory: Path, flags: list[str]
) -> dict[str, Any]:
    """Let consul-dataplane start an "Envoy" that writes down its arguments."""
    seen = directory / "arguments"
    fake = directory / "envoy"
    fake.write_text(
        f"#!{sys.executable}\nimport json, os, sys, time\nparent = os.getppid()\n"
        f"open({str(seen)!r}, 'w').write(json.dumps(sys.argv))\n"
        "while os.getppid() == parent:\n    time.sleep(0.05)\n"
    )
    fake.chmod(0o755)
    options = {
        "-addresses": server,
        "-grpc-port": str(GRPC_PORT),
        "-proxy-id": proxy.id,
        "-proxy-node-name": proxy.node,
        "-envoy-executable-path": str(fake),
    }
    argv = [DATAPLANE, "-tls-disabled", *(w for o in options.items() for w in o)]
    argv += flags
    child = Child("consul-dataplane", argv, directory)
    try:
        wait_until(seen.exists, "consul-dataplane started its Envoy")
        time.sleep(0.5)
        arguments = json.loads(seen.read_text())
        bootstrap = json.loads(arguments[arguments.index("--config-yaml") + 1])
        assert isinstance(bootstrap, dict)
        return bootstrap
    finally:
        child.kill()
