"""EnvoyBootstrap: what is in a bootstrap, and what never is.

`UPDATE_GOLDEN=1 pytest tests/unit/envoy` writes the golden files anew.
"""

import json
import os
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.tls import XdsTls
from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.seams import BootstrapRenderer
from consul_ebpf.model.values import (
    BootstrapParams,
    PlacedProxy,
    Prometheus,
    Proxy,
    ProxyTelemetry,
    Vip,
)

GOLDEN = Path(__file__).parents[2] / "golden"
VIP = Vip(IPv4Address("127.64.0.1"), 8502)
WEB = Proxy(id="web-1-sidecar-proxy", node="host1-virtual", service="web")
PLAIN = EnvoyBootstrap()

CASES = {
    "ipv4": (PLAIN, WEB, VIP),
    "ipv6": (PLAIN, WEB, Vip(VIP.address, 8502, ipv6=True)),
    "service-unknown": (PLAIN, Proxy(id="web-1-sidecar-proxy", node=""), VIP),
    "datacenter": (EnvoyBootstrap(datacenter="dc1"), WEB, VIP),
    "token": (
        EnvoyBootstrap(token_file=BootstrapFiles(Path("/run/consul-ebpf")).token_path),
        WEB,
        VIP,
    ),
    "admin": (
        EnvoyBootstrap(admin=("127.0.0.1", 19001)),
        Proxy(id="web-1", node="host1-virtual", admin=("::1", 19005)),
        VIP,
    ),
    "tenancy": (
        PLAIN,
        Proxy(id="web-1", node="n", namespace="team-a", partition="east"),
        VIP,
    ),
    "strange-names": (
        PLAIN,
        Proxy(
            id="we\"b'\\ ${HOST} {{x}} %ENVIRONMENT(HOME)% \u2603\U0001f600",
            node='"}, {',
            service="%s <&> ../..",
        ),
        VIP,
    ),
}


RUN = BootstrapFiles(Path("/run/consul-ebpf"))
TLS = XdsTls("server.dc1.consul", ca_file=RUN.tls_ca_path)
SIDECAR = BootstrapParams(
    identity="web",
    namespace="default",
    partition="default",
    datacenter="dc1",
    node_name="host1-virtual",
)
CLUSTER = '{"name": "extra-1", "type": "STATIC"}, {"name": "extra-2", "type": "STATIC"}'
LISTENER = json.dumps(
    {
        "name": "extra",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 19999}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.tcp_proxy",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters"
                            ".network.tcp_proxy.v3.TcpProxy",
                            "stat_prefix": "extra",
                            "cluster": "extra-1",
                        },
                    }
                ]
            }
        ],
    }
)
SINK = json.dumps(
    {
        "name": "envoy.stat_sinks.hystrix",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.metrics.v3.HystrixSink",
            "num_buckets": 10,
        },
    }
)
TRACING = json.dumps(
    {
        "http": {
            "name": "envoy.tracers.zipkin",
            "typedConfig": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                "collector_cluster": "extra-1",
                "collector_endpoint_version": "HTTP_JSON",
                "collector_endpoint": "/api/v2/spans",
            },
        }
    }
)
ACCESS_LOG = json.dumps(
    {
        "name": "Consul Listener Filter Log",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers"
            ".stream.v3.StdoutAccessLog",
            "logFormat": {"jsonFormat": {"start": "%START_TIME%"}},
        },
    }
)
PROMETHEUS = ProxyTelemetry(
    prometheus=Prometheus(
        "scrape?x=y", 20100, "/certs/ca.pem", "/certs/cert.pem", "/certs/key.pem"
    )
)
ENV = {"HOST_IP": "10.0.0.9", "STATSD": "udp://127.0.0.1:8125"}
WITH_ENV = EnvoyBootstrap(env=ENV)


def central(**config: object) -> BootstrapParams:
    return replace(SIDECAR, config=config)


CENTRAL = {
    "consul-says": (PLAIN, SIDECAR),
    "tls": (EnvoyBootstrap(tls=TLS), SIDECAR),
    "tls-client-certificate": (
        EnvoyBootstrap(tls=replace(TLS, cert_file=RUN.tls_cert_path)),
        SIDECAR,
    ),
    "tls-address": (EnvoyBootstrap(tls=replace(TLS, server_name="fd00:0::5")), SIDECAR),
    "tls-system-roots": (EnvoyBootstrap(tls=replace(TLS, ca_file=None)), SIDECAR),
    "tls-skip-verify": (EnvoyBootstrap(tls=replace(TLS, verify=False)), SIDECAR),
    "access-logs": (PLAIN, replace(SIDECAR, access_logs=(ACCESS_LOG,))),
    "ready": (EnvoyBootstrap(ready=("127.0.0.1", 22000)), SIDECAR),
    "prometheus": (PLAIN, central(envoy_prometheus_bind_addr="0.0.0.0:20200")),
    "prometheus-tls-backend": (
        EnvoyBootstrap(telemetry=PROMETHEUS),
        central(envoy_prometheus_bind_addr="[::1]:20200"),
    ),
    "stats-listener": (PLAIN, central(envoy_stats_bind_addr="127.0.0.1:20201")),
    "statsd": (WITH_ENV, central(envoy_statsd_url="$STATSD")),
    "dogstatsd": (WITH_ENV, central(envoy_dogstatsd_url="udp://${HOST_IP}:8125")),
    "dogstatsd-unix": (PLAIN, central(envoy_dogstatsd_url="unix:///run/dog.sock")),
    "stats-tags": (PLAIN, central(envoy_stats_tags=["canary", "team=blue=green"])),
    "stats-config": (
        PLAIN,
        central(
            envoy_stats_config_json='{"use_all_default_tags": false}',
            envoy_stats_flush_interval="10s",
        ),
    ),
    "extra-sinks": (PLAIN, central(envoy_extra_stats_sinks_json=SINK)),
    "extra-static": (
        PLAIN,
        central(
            envoy_extra_static_clusters_json=CLUSTER,
            envoy_extra_static_listeners_json=LISTENER,
        ),
    ),
    "tracing": (
        PLAIN,
        central(
            envoy_tracing_json=TRACING, envoy_extra_static_clusters_json=f"[{CLUSTER}]"
        ),
    ),
    "telemetry-collector": (
        PLAIN,
        central(envoy_telemetry_collector_bind_socket_dir="/tmp/consul"),
    ),
    "everything": (
        EnvoyBootstrap(
            telemetry=PROMETHEUS,
            tls=TLS,
            token_file=RUN.token_path,
            ready=("127.0.0.1", 22000),
            env=ENV,
        ),
        replace(
            central(
                envoy_statsd_url="udp://127.0.0.1:8125",
                envoy_dogstatsd_url="$STATSD",
                envoy_stats_tags=["canary"],
                envoy_prometheus_bind_addr="127.0.0.1:20200",
                envoy_stats_bind_addr="127.0.0.1:20201",
                envoy_extra_static_clusters_json=CLUSTER,
                envoy_extra_static_listeners_json=LISTENER,
                envoy_tracing_json=TRACING,
                envoy_telemetry_collector_bind_socket_dir="/tmp/consul",
                local_connect_timeout_ms=1000,
            ),
            access_logs=(ACCESS_LOG,),
        ),
    ),
    **{
        f"gateway-{kind}": (
            PLAIN,
            replace(SIDECAR, identity=f"{kind}-gateway", namespace="", partition=""),
        )
        for kind in ("api", "ingress", "mesh", "terminating")
    },
}
"""What Consul says besides, for `WEB`."""


def rendered(case: str) -> dict[str, Any]:
    if case in CENTRAL:
        renderer, params = CENTRAL[case]
        proxy = WEB
        if case.startswith("gateway-"):
            proxy = Proxy(params.identity, "host1-virtual")
        return dict(renderer.render(PlacedProxy(proxy, VIP), params))
    renderer, proxy, vip = CASES[case]
    return dict(renderer.render(PlacedProxy(proxy, vip)))


def xds_cluster(bootstrap: dict[str, Any]) -> dict[str, Any]:
    (cluster,) = bootstrap["static_resources"]["clusters"]
    assert isinstance(cluster, dict)
    return cluster


def http_options(bootstrap: dict[str, Any]) -> dict[str, Any]:
    (options,) = xds_cluster(bootstrap)["typed_extension_protocol_options"].values()
    assert isinstance(options, dict)
    return options


@pytest.mark.parametrize("case", [*CASES, *CENTRAL])
def test_golden(case: str) -> None:
    """A change of a bootstrap is seen in review."""
    path = GOLDEN / f"{case}.json"
    text = json.dumps(rendered(case), indent=2) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


def test_every_golden_file_has_its_case() -> None:
    """None is left over, and so tested against nothing."""
    assert {*CASES, *CENTRAL} == {path.stem for path in GOLDEN.glob("*.json")}


def test_is_a_bootstrap_renderer() -> None:
    """It fits the seam: mypy checks the assignment, this that it is callable so."""
    renderer: BootstrapRenderer = PLAIN
    assert renderer.render(PlacedProxy(WEB, VIP))["node"]["id"] == "web-1-sidecar-proxy"


def test_a_retry_is_a_connect() -> None:
    """Without this a full server is retried on its own connection for ever."""
    common = http_options(rendered("ipv4"))["common_http_protocol_options"]
    assert common == {"max_requests_per_connection": 1}


def test_keepalive_is_slower_than_consul_permits() -> None:
    """A ping each 15 s or faster earns a GOAWAY."""
    http2 = http_options(rendered("ipv4"))["explicit_http_config"]
    keepalive = http2["http2_protocol_options"]["connection_keepalive"]
    assert float(keepalive["interval"].rstrip("s")) >= 20


def test_three_retries_fit_in_a_second() -> None:
    """Two dead servers in a row and the third is still reached within 1 s."""
    (service,) = rendered("ipv4")["dynamic_resources"]["ads_config"]["grpc_services"]
    back_off = service["envoy_grpc"]["retry_policy"]["retry_back_off"]
    base = 1000 * float(back_off["base_interval"].rstrip("s"))
    # Envoy draws from [0, base), then [0, 2 base), then [0, 4 base).
    assert base + 2 * base + 4 * base <= 700


def test_the_only_endpoint_is_the_vip() -> None:
    """Nothing else for a connection, or a token, to go to."""
    endpoints = xds_cluster(rendered("ipv6"))["load_assignment"]["endpoints"]
    ((endpoint,),) = (group["lb_endpoints"] for group in endpoints)
    assert endpoint["endpoint"]["address"] == {
        "socket_address": {"address": "::ffff:127.64.0.1", "port_value": 8502}
    }


def test_no_token_file_no_filters() -> None:
    """A cluster without ACLs needs none, and without its file it lets nothing pass."""
    assert "http_filters" not in http_options(rendered("ipv4"))


def test_the_codec_comes_last() -> None:
    """Envoy insists on it."""
    filters = http_options(rendered("token"))["http_filters"]
    assert [part["name"] for part in filters] == [
        "consul-token",
        "envoy.filters.http.upstream_codec",
    ]


def test_same_input_same_output() -> None:
    """Else an unchanged proxy's file would be written again and again."""
    assert json.dumps(rendered("token")) == json.dumps(rendered("token"))


@pytest.mark.parametrize(
    "admin", [("localhost", 19000), ("127.0.0.1", 0), ("127.0.0.1", 65536), ("", 1)]
)
def test_bad_admin_address_is_refused(admin: tuple[str, int]) -> None:
    """Envoy would not start on it; the error names the proxy."""
    proxy = Proxy(id="web-1", node="n", admin=admin)
    with pytest.raises(InvalidProxyError, match=r"proxy 'web-1'.*admin"):
        PLAIN.render(PlacedProxy(proxy, VIP))


@pytest.mark.parametrize(
    "hostile",
    ["", ".", "..", "../x", "a/b", "a\0b", "a\nb", "a\u2028b", "x" * 2**20, "\ud800"],
)
def test_fault_63_hostile_ids_are_refused(hostile: str) -> None:
    """In one short line, whatever the id holds."""
    with pytest.raises(InvalidProxyError) as caught:
        PLAIN.render(PlacedProxy(Proxy(id=hostile, node="n"), VIP))
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 300


ANY_TEXT = st.one_of(st.text(st.characters()), st.text("a./\\\0\n\"'${}%\ud800~"))


@given(
    st.builds(
        Proxy,
        id=ANY_TEXT,
        node=ANY_TEXT,
        service=ANY_TEXT,
        namespace=st.one_of(st.just("default"), ANY_TEXT),
        partition=st.one_of(st.just("default"), ANY_TEXT),
        admin=st.none() | st.tuples(st.sampled_from(["::1", "x"]), st.integers()),
    )
)
def test_any_proxy_renders_or_is_refused(proxy: Proxy) -> None:
    """Nothing in between: what renders comes back from JSON as it was."""
    try:
        bootstrap = PLAIN.render(PlacedProxy(proxy, VIP))
    except InvalidProxyError:
        return
    assert bootstrap == json.loads(json.dumps(bootstrap).encode())
    assert proxy.id == bootstrap["node"]["id"]


def test_what_consul_says_goes_before_the_proxys_entry() -> None:
    """It is the one that knows; what it leaves out is taken from the entry."""
    proxy = Proxy("web-1", "entry-node", namespace="entry", service="entry")
    params = BootstrapParams(identity="consul", node_name="consul-node")
    node = PLAIN.render(PlacedProxy(proxy, VIP), params)["node"]
    assert node["cluster"] == "consul"
    assert node["metadata"]["node_name"] == "consul-node"
    assert node["metadata"]["namespace"] == "entry"


def test_the_proxys_own_ready_listener_wins() -> None:
    """Two on one host cannot share an address."""
    renderer = EnvoyBootstrap(ready=("127.0.0.1", 1))
    proxy = Proxy("web-1", "n", ready=("127.0.0.1", 2))
    resources = renderer.render(PlacedProxy(proxy, VIP))["static_resources"]
    (listener,) = resources["listeners"]
    assert listener["address"]["socket_address"]["port_value"] == 2


def test_ready_and_admin_cannot_share_an_address() -> None:
    """Envoy would end at its start; the error names both."""
    proxy = Proxy("web-1", "n", admin=("127.0.0.1", 7), ready=("0.0.0.0", 7))
    with pytest.raises(InvalidProxyError, match=r"ready 0\.0\.0\.0:7 is taken by"):
        PLAIN.render(PlacedProxy(proxy, VIP))
