"""Our bootstrap and consul-dataplane's own, field by field.

The comparison runs where its binary is given (`$CONSUL_DATAPLANE_BIN`); what it is
done with is tested anyway.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf._values import PlacedProxy, Proxy, Vip
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.processes import Child, wait_until
from tests.lab.rpc import params_of

DATAPLANE = os.environ.get("CONSUL_DATAPLANE_BIN", "")

INTENDED = {
    # Straight to the servers, so a VIP instead of a socket of consul-dataplane's ...
    "static_resources.clusters[consul-dataplane].load_assignment",
    "static_resources.clusters[consul-dataplane].loadAssignment",
    # ... and what a direct connection needs, in fields that are not deprecated.
    "static_resources.clusters[consul-dataplane].http2_protocol_options",
    "static_resources.clusters[consul-dataplane].typed_extension_protocol_options",
    "static_resources.clusters[consul-dataplane].ignore_health_on_host_removal",
    "dynamic_resources.ads_config.grpc_services",
    # The same, in the field that is not deprecated.
    "admin.access_log_path",
    "admin.access_log",
}
"""Where the two differ on purpose, and why."""


def differences(theirs: Any, ours: Any, at: str = "") -> Iterator[str]:
    """Yield the paths at which two bootstraps differ; named things by their names."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in sorted(theirs.keys() | ours.keys()):
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
    return {path.replace(".[", "[") for path in differences(theirs, ours)}


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


@pytest.mark.consul
@pytest.mark.skipif(not DATAPLANE, reason="no consul-dataplane: CONSUL_DATAPLANE_BIN")
async def test_only_the_intended_differences(consul_bin: Path, tmp_path: Path) -> None:
    """With much central configuration, against the same server."""
    config = {
        "envoy_prometheus_bind_addr": "127.0.0.1:20200",
        "envoy_stats_bind_addr": "127.0.0.1:20201",
        "envoy_dogstatsd_url": "udp://127.0.0.1:8125",
        "envoy_stats_tags": ["canary", "team=blue"],
        "envoy_stats_flush_interval": "10s",
    }
    with ConsulCluster(consul_bin, size=1) as cluster:
        entry = {"Kind": "proxy-defaults", "Name": "global", "Config": config}
        cluster.call("PUT", "/v1/config", entry)
        proxy = Proxy(cluster.register_proxy("web"), "host1-virtual", service="web")
        theirs = dataplanes(cluster.addresses[0], proxy, tmp_path)
        placed = PlacedProxy(proxy, Vip(IPv4Address("127.64.0.1"), 8502))
        ours = EnvoyBootstrap().render(placed, await params_of(cluster, proxy))
        assert paths(theirs, ours) <= INTENDED


def dataplanes(server: str, proxy: Proxy, directory: Path) -> dict[str, Any]:
    """Let consul-dataplane start an "Envoy" that writes down its arguments."""
    seen = directory / "arguments"
    fake = directory / "envoy"
    fake.write_text(
        f"#!{sys.executable}\nimport json, sys, time\n"
        f"open({str(seen)!r}, 'w').write(json.dumps(sys.argv))\ntime.sleep(60)\n"
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
