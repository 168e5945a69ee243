"""Values that people write for the keys of central configuration, good and bad."""

from typing import Any

ENV = {
    "HOST_IP": "fd00::5",
    "STATSD": "udp://127.0.0.1:8125",
    "BROKEN": "udp://\udce9:1",
    "ADDRESS": "10.0.0.1",
}
"""The controller's environment."""

SINK = (
    '{"name": "envoy.stat_sinks.hystrix", "typed_config": {"@type":'
    ' "type.googleapis.com/envoy.config.metrics.v3.HystrixSink", "num_buckets": 3}}'
)
TRACING = (
    '{"http": {"name": "envoy.tracers.zipkin", "typedConfig": {"@type":'
    ' "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",'
    ' "collector_cluster": "consul-dataplane", "collector_endpoint": "/spans",'
    ' "collector_endpoint_version": "HTTP_JSON"}}}'
)


def listener(address: str = '"127.0.0.1"', port: object = 4, name: str = "x") -> str:
    """Write an extra listener."""
    where = f'{{"socket_address": {{"address": {address}, "port_value": {port}}}}}'
    return f'{{"name": "{name}", "address": {where}, "filter_chains": [{{}}]}}'


def nested(depth: int) -> str:
    """Write a cluster with something nested `depth` deep in it."""
    inner = '{"a":' * depth + "1" + "}" * depth
    return f'{{"name": "x", "metadata": {{"filter_metadata": {{"x": {inner}}}}}}}'


def cluster(text: str) -> str:
    """Write an extra cluster with further fields."""
    return f'{{"name": "x", {text}}}'


KEPT: tuple[tuple[str, Any], ...] = (
    ("envoy_statsd_url", "udp://127.0.0.1:8125"),
    ("envoy_statsd_url", "UDP://[fd00::5]:0/path?query#fragment"),
    ("envoy_statsd_url", "udp://user:word@10.0.0.1:8125"),
    ("envoy_statsd_url", "udp://$HOST_IP:8125"),
    ("envoy_statsd_url", "udp://[$HOST_IP]:8125"),
    ("envoy_statsd_url", "udp://${HOST_IP}:8125"),
    ("envoy_statsd_url", "$STATSD"),
    ("envoy_statsd_url", "unix:///x"),
    ("envoy_dogstatsd_url", "unix:///run/a%20b%22.sock?x"),
    ("envoy_dogstatsd_url", "unix:/x"),
    ("envoy_dogstatsd_url", "unix://host/x"),
    ("envoy_dogstatsd_url", "unix:///" + "x" * 106),
    ("envoy_dogstatsd_url", "udp://[${HOST_IP}]:8125"),
    ("ENVOY_DogStatsD_url", "udp://127.0.0.1:8125"),
    ("envoy_stats_tags", ["a=b", "canary", "A=c", "local_cluster=mine", "=", "x="]),
    ("envoy_stats_tags", 'a="\\{}%'),
    ("envoy_stats_tags", 5),
    ("envoy_stats_tags", True),
    ("envoy_stats_tags", [1.0, False, None, 0.25, 1e21]),
    ("envoy_stats_tags", {}),
    ("envoy_stats_tags", ["consul.destination.service=x", "envoy.cluster_name=x"]),
    ("envoy_stats_flush_interval", "10s"),
    ("envoy_stats_flush_interval", "0.5s"),
    ("envoy_stats_flush_interval", "0.001s"),
    ("envoy_stats_flush_interval", "299.999999999s"),
    ("envoy_prometheus_bind_addr", "0.0.0.0:20200"),
    ("envoy_prometheus_bind_addr", "[::]:20200"),
    ("envoy_stats_bind_addr", "127.0.0.1:0"),
    ("envoy_stats_bind_addr", "[::ffff:127.0.0.1]:65535"),
    ("envoy_telemetry_collector_bind_socket_dir", "/tmp//consul/../x/"),
    ("envoy_telemetry_collector_bind_socket_dir", "//tmp"),
    ("envoy_telemetry_collector_bind_socket_dir", 7),
    ("envoy_extra_static_clusters_json", '{"name": "a"}, {"name": "b"}'),
    ("envoy_extra_static_clusters_json", '[{"name": "a", "name": "b"}]'),
    ("envoy_extra_static_clusters_json", nested(60)),
    (
        "envoy_extra_static_clusters_json",
        cluster('"connect_timeout": "1s", "connectTimeout": "2s", "type": null'),
    ),
    ("envoy_extra_static_listeners_json", listener()),
    ("envoy_extra_static_listeners_json", listener(port='"0"')),
    ("envoy_extra_stats_sinks_json", SINK),
    ("envoy_stats_config_json", "null"),
    ("envoy_stats_config_json", "{}"),
    ("envoy_stats_config_json", '{"useAllDefaultTags": "false", "stats_tags": null}'),
    ("envoy_tracing_json", TRACING),
    ("envoy_tracing_json", "null"),
    ("envoy_tracing_json", '{"http": null}'),
)
"""Nothing of these is left out."""

UNSET: tuple[Any, ...] = (None, "")
"""What every key may hold without being set."""

LEFT_OUT: tuple[tuple[str, Any, str], ...] = (
    ("envoy_statsd_url", "udp://statsd.example:8125", "not an IP address"),
    ("envoy_statsd_url", "udp://localhost:8125", "not an IP address"),
    ("envoy_statsd_url", "udp://127.0.0.1", "the port is missing"),
    ("envoy_statsd_url", "udp://127.0.0.1:65536", "0 to 65535"),
    ("envoy_statsd_url", "udp://127.0.0.1:08125", "0 to 65535"),
    ("envoy_statsd_url", "udp://127.0.0.1:statsd", "0 to 65535"),
    ("envoy_statsd_url", "udp://127.0.0.1:\u0661", "0 to 65535"),
    ("envoy_statsd_url", "udp://:8125", "not an IP address"),
    ("envoy_statsd_url", "udp://fe80::1%eth0:8125", "a zone"),
    ("envoy_statsd_url", "udp://127.1:8125", "not an IP address"),
    ("envoy_statsd_url", "udp:127.0.0.1:8125", "write it like udp://"),
    ("envoy_statsd_url", "127.0.0.1:8125", "write it like udp://"),
    ("envoy_statsd_url", "tcp://127.0.0.1:8125", "write it like udp://"),
    ("envoy_statsd_url", " udp://127.0.0.1:8125", "write it like udp://"),
    ("envoy_statsd_url", "udp://127.0.0.1:8125\n", "control character"),
    ("envoy_statsd_url", "$NOWHERE", "variable 'NOWHERE' is not set"),
    ("envoy_statsd_url", "$ADDRESS", "write it like udp://"),
    ("envoy_statsd_url", "$BROKEN", "is not Unicode text"),
    ("envoy_statsd_url", "udp://$ADDRESS:8125", "only $HOST_IP is replaced"),
    ("envoy_statsd_url", 8125.0, "write it like udp://"),
    ("envoy_statsd_url", True, "write it like udp://"),
    ("envoy_statsd_url", ["udp://127.0.0.1:8125"], "is not a text"),
    ("envoy_statsd_url", {"a": 1}, "is not a text"),
    ("envoy_statsd_url", "udp://\ud800:1", "is not Unicode text"),
    ("envoy_dogstatsd_url", "udp://${POD_IP}:1", "only $HOST_IP is replaced"),
    ("envoy_dogstatsd_url", "${HOST_IP}", "is not set"),
    ("envoy_dogstatsd_url", "unix://x", "write it like udp://"),
    ("envoy_dogstatsd_url", "unix:x", "write it like udp://"),
    ("envoy_dogstatsd_url", "unix:", "write it like udp://"),
    ("envoy_dogstatsd_url", "unix:///a%zz", "write it like udp://"),
    ("envoy_dogstatsd_url", "unix:///a%ff", "is not Unicode text"),
    ("envoy_dogstatsd_url", "unix:///a%00", "NUL"),
    ("envoy_dogstatsd_url", "unix:///\0", "NUL"),
    ("envoy_dogstatsd_url", "unix:///" + "x" * 107, "at most 107 bytes"),
    ("envoy_dogstatsd_url", "unix:///" + "\u00e9" * 54, "at most 107 bytes"),
    ("envoy_stats_tags", ["a", ["b"]], "one is not a text"),
    ("envoy_stats_tags", {"a": "b"}, "one is not a text"),
    ("envoy_stats_tags", ["a", "b\0"], "NUL"),
    ("envoy_stats_tags", "\udfff", "is not Unicode text"),
    ("envoy_stats_flush_interval", "500ms", "'500ms' is not 0.001 s to"),
    ("envoy_stats_flush_interval", "1m", "write it like 10s"),
    ("envoy_stats_flush_interval", "10", "write it like 10s"),
    ("envoy_stats_flush_interval", 10, "write it like 10s"),
    ("envoy_stats_flush_interval", 10.5, "write it like 10s"),
    ("envoy_stats_flush_interval", "0s", "write it like 10s"),
    ("envoy_stats_flush_interval", "300s", "write it like 10s"),
    ("envoy_stats_flush_interval", ".5s", "write it like 10s"),
    ("envoy_stats_flush_interval", "-1s", "write it like 10s"),
    ("envoy_stats_flush_interval", "1e1s", "write it like 10s"),
    ("envoy_stats_flush_interval", "10s\n", "write it like 10s"),
    ("envoy_stats_flush_interval", "\u0661s", "write it like 10s"),
    ("envoy_stats_flush_interval", float("nan"), "'NaN'"),
    ("envoy_stats_flush_interval", float("inf"), "'Infinity'"),
    ("envoy_stats_flush_interval", "NaN", "'NaN'"),
    ("envoy_prometheus_bind_addr", ":20200", "not an IP address; write it"),
    ("envoy_prometheus_bind_addr", "localhost:20200", "not an IP address; write it"),
    ("envoy_prometheus_bind_addr", "127.0.0.1", "the port is missing"),
    ("envoy_prometheus_bind_addr", 20200.0, "the port is missing"),
    ("envoy_prometheus_bind_addr", "::1:20200", "in brackets"),
    ("envoy_prometheus_bind_addr", "[::1]", "the port is missing"),
    ("envoy_prometheus_bind_addr", "[fe80::1%eth0]:1", "a zone"),
    ("envoy_prometheus_bind_addr", "0.0.0.0:19000", "taken by Envoy's admin interface"),
    ("envoy_stats_bind_addr", "127.0.0.1:19000", "taken by Envoy's admin interface"),
    ("envoy_stats_bind_addr", "127.0.0.1:99999", "0 to 65535"),
    ("envoy_stats_bind_addr", "127.0.0.1:1 ", "0 to 65535"),
    ("envoy_telemetry_collector_bind_socket_dir", "/" + "x" * 80, "at most 107 bytes"),
    ("envoy_telemetry_collector_bind_socket_dir", "/a\0", "NUL"),
    ("envoy_telemetry_collector_bind_socket_dir", [], "is not a text"),
    ("envoy_extra_static_clusters_json", "1, 2", "one is not a JSON object"),
    ("envoy_extra_static_clusters_json", "null", "one is not a JSON object"),
    ("envoy_extra_static_clusters_json", '"x"', "one is not a JSON object"),
    ("envoy_extra_static_clusters_json", "[[]]", "one is not a JSON object"),
    ("envoy_extra_static_clusters_json", "{}", "a cluster needs a name"),
    ("envoy_extra_static_clusters_json", '{"name": 1}', "a cluster needs a name"),
    ("envoy_extra_static_clusters_json", '{"name": ""}', "a cluster needs a name"),
    ("envoy_extra_static_clusters_json", '{"name": "consul-dataplane"}', "another"),
    ("envoy_extra_static_clusters_json", '{"name": "a"}, {"name": "a"}', "another"),
    ("envoy_extra_static_clusters_json", nested(1200), "nested deeper than 80"),
    ("envoy_extra_static_clusters_json", nested(90), "nested deeper than 80"),
    ("envoy_extra_static_clusters_json", "[" * 100_000, "nested deeper than 80"),
    ("envoy_extra_static_clusters_json", cluster('"load_assignment": []'), "kind"),
    ("envoy_extra_static_clusters_json", cluster('"loadAssignment": []'), "kind"),
    ("envoy_extra_static_clusters_json", cluster('"connect_timeout": 5'), "kind"),
    ("envoy_extra_static_clusters_json", cluster('"a": "\\ud800"'), "not Unicode"),
    ("envoy_extra_static_clusters_json", cluster('"\\u0000": 1'), "NUL"),
    ("envoy_extra_static_clusters_json", cluster('"a": 1e400'), "too large"),
    ("envoy_extra_static_clusters_json", cluster('"a": ' + "1" * 5000), "too large"),
    ("envoy_extra_static_listeners_json", '{"name": "x"}', "needs an address"),
    ("envoy_extra_static_listeners_json", '{"name": []}', "name is a text"),
    ("envoy_extra_static_listeners_json", '{"address": []}', "needs an address"),
    ("envoy_extra_static_listeners_json", '{"address": {"pipe": {}}}', "filter_chains"),
    ("envoy_extra_static_listeners_json", listener('"localhost"'), "not an IP address"),
    ("envoy_extra_static_listeners_json", listener("null"), "not an IP address"),
    ("envoy_extra_static_listeners_json", listener("7"), "not an IP address"),
    ("envoy_extra_static_listeners_json", listener(port=70000), "0 to 65535"),
    ("envoy_extra_static_listeners_json", listener(port="null"), "0 to 65535"),
    ("envoy_extra_static_listeners_json", listener(port="true"), "0 to 65535"),
    ("envoy_extra_static_listeners_json", listener(port=19000), "admin interface"),
    (
        "envoy_extra_static_listeners_json",
        f"{listener()}, {listener(name='y')}",
        "127.0.0.1:4 is taken by the listener 'x'",
    ),
    ("envoy_extra_stats_sinks_json", '{"name": "x"}', "needs a typed_config"),
    ("envoy_extra_stats_sinks_json", '{"typed_config": {}}', "needs a typed_config"),
    (
        "envoy_extra_stats_sinks_json",
        SINK.replace('"envoy.stat_sinks.hystrix"', "1"),
        "name",
    ),
    ("envoy_extra_stats_sinks_json", "[]," + SINK, "one is not a JSON object"),
    ("envoy_stats_config_json", "[]", "is not a JSON object"),
    ("envoy_stats_config_json", '{"stats_tag": []}', "knows no field 'stats_tag'"),
    ("envoy_stats_config_json", '{"use_all_default_tags": 1}', "of the wrong kind"),
    ("envoy_stats_config_json", '{"a":' * 1200 + "1" + "}" * 1200, "nested deeper"),
    ("envoy_tracing_json", "1", "is not a JSON object"),
    ("envoy_tracing_json", "[{}]", "is not a JSON object"),
    ("envoy_tracing_json", '{"https": {}}', "knows no field 'https'"),
    ("envoy_tracing_json", '{"http": []}', "http is a JSON object"),
    ("envoy_tracing_json", '{"http": {}}', "http needs a name"),
    (
        "envoy_tracing_json",
        '{"http": {"name": "envoy.tracers.zipkin"}}',
        "typed_config",
    ),
    ("envoy_bootstrap_json_tpl", ["x"], "is not a text"),
)
"""Values, each with a word of the note that it is left out with."""

NOT_JSON: tuple[tuple[str, str], ...] = tuple(
    (key, text)
    for key in (
        "envoy_extra_static_clusters_json",
        "envoy_extra_static_listeners_json",
        "envoy_extra_stats_sinks_json",
        "envoy_stats_config_json",
        "envoy_tracing_json",
    )
    for text in (
        '{"http": {"name": "envoy.tracers.zipkin",}}',
        "{",
        "{]",
        "nonsense",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": "\x01"}',
        "{'a': 1}",
        "\ufeff{}",
        '{"a": 01}',
    )
)
"""Texts that nobody can make anything of."""
