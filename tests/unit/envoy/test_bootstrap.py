"""EnvoyBootstrap: what is in a bootstrap, and what never is.

`UPDATE_GOLDEN=1 pytest tests/unit/envoy` writes the golden files anew.
"""

import json
import os
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf._errors import InvalidProxyError
from consul_ebpf._protocols import BootstrapRenderer
from consul_ebpf._values import PlacedProxy, Proxy, Vip
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles

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


def rendered(case: str) -> dict[str, Any]:
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


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    """A change of a bootstrap is seen in review."""
    path = GOLDEN / f"{case}.json"
    text = json.dumps(rendered(case), indent=2) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


def test_every_golden_file_has_its_case() -> None:
    """None is left over, and so tested against nothing."""
    assert set(CASES) == {path.stem for path in GOLDEN.glob("*.json")}


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
    """A cluster without ACLs needs none, and a filter without its file stops Envoy."""
    assert "http_filters" not in http_options(rendered("ipv4"))


def test_the_codec_comes_last() -> None:
    """Envoy insists on it."""
    filters = http_options(rendered("token"))["http_filters"]
    assert [part["name"] for part in filters] == [
        "envoy.filters.http.credential_injector",
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
