"""Central configuration as people write it: used, left out with a note, or refused."""

import json
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.central import KEYS
from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.seams import Noting
from consul_ebpf.model.values import (
    BootstrapParams,
    PlacedProxy,
    Proxy,
    ProxyTelemetry,
    Vip,
)
from tests.lab.central_values import ENV, KEPT, LEFT_OUT, NOT_JSON, TRACING, UNSET

PLACED = PlacedProxy(
    Proxy("web-1", "host1", service="web"), Vip(IPv4Address("127.64.0.1"), 8502)
)
RENDERER = EnvoyBootstrap(env=ENV)
SAID = BootstrapParams(identity="web", datacenter="dc1", node_name="host1")
PLAIN = RENDERER.render(PLACED, SAID)


def made(**config: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The bootstrap and its notes."""
    params = replace(SAID, config=config)
    return dict(RENDERER.render(PLACED, params)), RENDERER.notes(PLACED, params)


@pytest.mark.parametrize(("key", "value"), KEPT)
def test_fault_110_what_consul_dataplane_accepts_is_used(key: str, value: Any) -> None:
    """As it decodes it: weakly typed, whatever the letters' case."""
    bootstrap, notes = made(**{key: value})
    assert notes == ()
    assert json.loads(json.dumps(bootstrap)) == bootstrap


@pytest.mark.parametrize(("key", "value", "said"), LEFT_OUT)
def test_fault_110_a_value_that_cannot_be_used_is_left_out_alone(
    key: str, value: Any, said: str
) -> None:
    """One printable line names the key; everything else of the bootstrap stands."""
    bootstrap, notes = made(**{"envoy_stats_tags": ["kept"], key: value})
    assert [line for line in notes if key not in line] == []
    assert [line for line in notes if said in line] != []
    assert all(line.isprintable() and len(line) <= 500 for line in notes)
    assert bootstrap["node"] == PLAIN["node"]
    assert bootstrap["dynamic_resources"] == PLAIN["dynamic_resources"]
    if key != "envoy_stats_tags":
        assert "kept" in json.dumps(bootstrap["stats_config"])
    text = json.dumps(bootstrap, allow_nan=False)
    assert "\\ud8" not in text
    assert "\\u0000" not in text


@pytest.mark.parametrize("value", UNSET)
@pytest.mark.parametrize("key", KEYS)
def test_fault_110_null_and_empty_are_not_set(key: str, value: Any) -> None:
    """Consul hands over what somebody once wrote, and then took back."""
    assert made(**{key: value}) == (PLAIN, ())


@pytest.mark.parametrize(("key", "text"), NOT_JSON)
def test_fault_110_a_text_that_is_not_json_is_refused(key: str, text: str) -> None:
    """By proxy and key, in one line; without central configuration it is served."""
    params = replace(SAID, config={key: text})
    for ask in (RENDERER.render, RENDERER.notes):
        with pytest.raises(InvalidProxyError) as caught:
            ask(PLACED, params)
        message = str(caught.value)
        assert message.startswith(f"proxy 'web-1': central configuration: {key}: is no")
        assert message.isprintable()
    without = EnvoyBootstrap(telemetry=ProxyTelemetry(use_central_config=False))
    assert without.render(PLACED, params) == PLAIN
    assert without.notes(PLACED, params) == ()


def test_a_whole_bootstrap_is_refused() -> None:
    """A Go template: only Consul's own tools can run it."""
    with pytest.raises(InvalidProxyError, match="json_tpl: is a Go template"):
        made(envoy_bootstrap_json_tpl="{{ . }}")


def test_it_notes() -> None:
    """It fits the seam."""
    renderer: Noting = RENDERER
    assert isinstance(renderer, Noting)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("udp://$HOST_IP:8125", {"address": "fd00::5", "port_value": 8125}),
        ("udp://${HOST_IP}:8125", {"address": "fd00::5", "port_value": 8125}),
        ("udp://[${HOST_IP}]:8125", {"address": "fd00::5", "port_value": 8125}),
        ("$STATSD", {"address": "127.0.0.1", "port_value": 8125}),
    ],
)
def test_variables_in_an_address(url: str, address: dict[str, Any]) -> None:
    """The host's own, also where that is IPv6; any, where it is the whole."""
    (sink,) = made(envoy_statsd_url=url)[0]["stats_sinks"]
    assert sink["typed_config"]["address"] == {"socket_address": address}


@pytest.mark.parametrize("key", ["envoy_statsd_url", "envoy_dogstatsd_url"])
def test_a_unix_socket(key: str) -> None:
    """For both; what is escaped in a URL is what it stands for."""
    (sink,) = made(**{key: "unix:///run/a%20b.sock?x"})[0]["stats_sinks"]
    assert sink["typed_config"]["address"] == {"pipe": {"path": "/run/a b.sock"}}


def test_tags_as_consul_dataplane_reads_them() -> None:
    """A list of one comes as a string, numbers are texts, names are small letters."""
    tags = made(envoy_stats_tags=[1.0, True, "Team=Blue=Green", 0.25, 1e21])[0]
    own = tags["stats_config"]["stats_tags"][:5]
    assert [(each["tag_name"], each["fixed_value"]) for each in own] == [
        ("1", "1"),
        ("1", "1"),
        ("team", "Blue=Green"),
        ("0.25", "1"),
        ("1" + "0" * 21, "1"),
    ]
    assert made(envoy_stats_tags="a=b") == made(envoy_stats_tags=["a=b"])


def test_a_tag_of_the_users_takes_the_place_of_consuls() -> None:
    """One label, not two."""
    tags = made(envoy_stats_tags="local_cluster=mine")[0]["stats_config"]["stats_tags"]
    same = [each for each in tags if each["tag_name"] == "local_cluster"]
    assert same == [{"tag_name": "local_cluster", "fixed_value": "mine"}]


def test_the_first_of_two_at_one_address_stays() -> None:
    """Envoy would not start with both."""
    where = "127.0.0.1:20200"
    bootstrap, notes = made(
        envoy_prometheus_bind_addr=where, envoy_stats_bind_addr=where
    )
    (listener,) = bootstrap["static_resources"]["listeners"]
    assert listener["name"] == "envoy_prometheus_metrics_listener"
    (line,) = notes
    assert "is taken by the listener of envoy_prometheus_bind_addr" in line


def test_the_users_own_self_admin_takes_the_place_of_ours() -> None:
    """As with consul-dataplane; two of one name and Envoy does not start."""
    own = '{"name": "self_admin", "type": "STATIC", "connect_timeout": "7s"}'
    bootstrap, notes = made(
        envoy_stats_bind_addr="127.0.0.1:1", envoy_extra_static_clusters_json=own
    )
    clusters = bootstrap["static_resources"]["clusters"]
    found = [each for each in clusters if each["name"] == "self_admin"]
    assert found == [json.loads(own)]
    assert notes == ()


def test_of_several_objects_the_good_ones_stay() -> None:
    """What is wrong with one is not the others' fault."""
    bootstrap, notes = made(envoy_extra_static_clusters_json='{"name": "a"}, {}, 1')
    names = [each["name"] for each in bootstrap["static_resources"]["clusters"]]
    assert names == ["consul-dataplane", "a"]
    assert len(notes) == 2


@pytest.mark.parametrize(
    "text", ["{", "[]", "1" * 5000, '{"a": NaN}', '{"a":"\\ud800"}']
)
def test_fault_111_an_access_log_that_cannot_be_read_is_left_out(text: str) -> None:
    """With a note; the others stay, and Envoy's admin interface with them."""
    params = replace(SAID, access_logs=(text, '{"name": "good"}'))
    assert RENDERER.render(PLACED, params)["admin"]["access_log"] == [{"name": "good"}]
    (line,) = RENDERER.notes(PLACED, params)
    assert "an access log is left out" in line


def test_fault_111_texts_of_consuls_that_are_none_are_left_out() -> None:
    """What the proxy's own entry says stands for them."""
    params = replace(SAID, identity="we\ud800b", node_name="a\0b")
    node = RENDERER.render(PLACED, params)["node"]
    assert node["cluster"] == "web"
    assert node["metadata"]["node_name"] == "host1"
    assert len(RENDERER.notes(PLACED, params)) == 2


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=10,
)
WRITTEN = st.sampled_from([value for _, value, *_ in (*KEPT, *LEFT_OUT)])


@given(st.dictionaries(st.sampled_from(KEYS), ANY | WRITTEN | ANY.map(json.dumps)))
def test_fault_110_any_configuration_renders_or_is_refused(
    config: dict[str, Any],
) -> None:
    """Nothing in between; what renders is JSON of Unicode text without a NUL."""
    try:
        bootstrap, notes = made(**config)
    except InvalidProxyError:
        return
    text = json.dumps(bootstrap, allow_nan=False, ensure_ascii=False)
    assert "\0" not in json.dumps(bootstrap).encode().decode("unicode_escape")
    assert text.encode()
    assert all(line.isprintable() for line in notes)


def test_tracing_stays_as_it_is_written() -> None:
    """It is Envoy's, not ours."""
    assert made(envoy_tracing_json=TRACING)[0]["tracing"] == json.loads(TRACING)
