"""Central configuration: the `envoy_*` keys of proxy-defaults and service-defaults.

What of it is for Envoy's bootstrap; Consul carries out the rest itself, over xDS.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from consul_ebpf.model.errors import InvalidProxyError

Part = dict[str, Any]


class Central(msgspec.Struct, frozen=True, kw_only=True):
    """The keys, as in Consul's documentation; other keys are not looked at."""

    envoy_statsd_url: str = ""
    envoy_dogstatsd_url: str = ""
    envoy_stats_tags: list[str] | str = []
    """Consul itself makes a list of one a string."""
    envoy_telemetry_collector_bind_socket_dir: str = ""
    envoy_prometheus_bind_addr: str = ""
    envoy_stats_bind_addr: str = ""
    envoy_bootstrap_json_tpl: str = ""
    envoy_extra_static_clusters_json: str = ""
    envoy_extra_static_listeners_json: str = ""
    envoy_extra_stats_sinks_json: str = ""
    envoy_stats_config_json: str = ""
    envoy_stats_flush_interval: str = ""
    envoy_tracing_json: str = ""


def parse(config: Mapping[str, Any], named: str) -> Central:
    """Read the keys; `named` begins each error.

    Raises:
        InvalidProxyError: a key is not what it should be, or cannot be carried out.
    """
    try:
        central = msgspec.convert(dict(config), Central)
    except msgspec.ValidationError as error:
        why, _, key = str(error).partition(" - at `$.")
        raise wrong(named, key.rstrip("`"), why) from None
    if central.envoy_bootstrap_json_tpl:
        raise wrong(
            named,
            "envoy_bootstrap_json_tpl",
            "is a Go template, which only Consul's own tools can run; use"
            " envoy_extra_static_clusters_json and the other keys instead",
        )
    return central


def stats_tags_of(central: Central) -> list[str]:
    """Return the user's tags, `name=value` or `name`."""
    tags = central.envoy_stats_tags
    return [tags] if isinstance(tags, str) else tags


def json_object(central: Central, key: str, named: str) -> Part | None:
    """Read a key that holds a JSON object; None where it is empty.

    Raises:
        InvalidProxyError: it does not.
    """
    text = getattr(central, key)
    if not text.strip():
        return None
    value = _decode(text, key, named)
    if not isinstance(value, dict):
        raise wrong(named, key, "is not a JSON object")
    return value


def json_fragment(central: Central, key: str, named: str) -> list[Part]:
    """Read a key that holds JSON objects, one or several with commas between.

    Raises:
        InvalidProxyError: it does not.
    """
    value = _decode(f"[{getattr(central, key)}]", key, named)
    if len(value) == 1 and isinstance(value[0], list):
        value = value[0]  # somebody wrote the brackets, too
    if not all(isinstance(each, dict) for each in value):
        raise wrong(named, key, "is not a list of JSON objects")
    objects: list[Part] = value
    return objects


def json_texts(texts: tuple[str, ...], what: str, named: str) -> list[Part]:
    """Read JSON objects that Consul made.

    Raises:
        InvalidProxyError: one is none.
    """
    values = [_decode(text, what, named) for text in texts]
    if not all(isinstance(each, dict) for each in values):
        raise wrong(named, what, "is not a JSON object")
    return values


def wrong(named: str, key: str, why: str) -> InvalidProxyError:
    """Make the error of a key of central configuration."""
    return InvalidProxyError(
        f"{named}: central configuration: {key}: {why} (in proxy-defaults,"
        " service-defaults or the proxy's own registration)"
    )


def _decode(text: str, key: str, named: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        why = getattr(error, "msg", "too deep")
        raise wrong(named, key, f"is not JSON: {why}") from None
