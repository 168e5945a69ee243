"""Where Envoy sends its metrics: `stats_sinks`, and the collector's cluster."""

import base64
import hashlib
import posixpath
import re
from collections.abc import Mapping
from urllib.parse import unquote

from consul_ebpf.envoy.central import Central
from consul_ebpf.envoy.parts import (
    Part,
    extension,
    http_options,
    load_assignment,
    socket_address,
)
from consul_ebpf.envoy.raw_json import unfit
from consul_ebpf.envoy.shapes import host_and_port, wrong_sink
from consul_ebpf.model.names import shown
from consul_ebpf.model.values import Proxy

COLLECTOR = "consul_telemetry_collector_loopback"

HOST_IP = "HOST_IP"
"""The only variable that is replaced in the middle of an address."""

MAX_SOCKET_PATH = 107
"""Bytes. It is the kernel's limit, without the NUL at the end."""

STATSD = {
    "envoy_statsd_url": ("envoy.stat_sinks.statsd", "StatsdSink"),
    "envoy_dogstatsd_url": ("envoy.stat_sinks.dog_statsd", "DogStatsdSink"),
}
"""Keys that hold an address, each with its sink's name and type."""

_METRICS = "config.metrics.v3"


def stats_sinks(
    central: Central, env: Mapping[str, str], collector: bool
) -> list[Part]:
    """Return the sinks that central configuration asks for.

    A sink whose address cannot be used, or whose variable is not set, is left out.

    Args:
        central: central configuration.
        env: the variables.
        collector: whether the telemetry collector has a cluster, and so gets a sink.

    Raises:
        InvalidProxyError: the text of the extra sinks is not JSON.
    """
    sinks = []
    for key, (name, kind) in STATSD.items():
        if not (text := central.text(key)):
            continue
        try:
            address = sink_address(text, env)
        except ValueError as error:
            central.leave_out(key, f"{shown(text)}: {error}")
            continue
        sinks.append(extension(name, f"{_METRICS}.{kind}", address=address))
    sinks += central.objects("envoy_extra_stats_sinks_json", wrong_sink)
    if collector:
        sinks.append(_collector_sink())
    return sinks


def flush_interval(central: Central) -> str:
    """Return protobuf's duration within Envoy's limits; empty: not set, or unusable."""
    key = "envoy_stats_flush_interval"
    text = central.text(key)
    if not text or (
        re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?s", text)
        and 0.001 <= float(text[:-1]) < 300
    ):
        return text
    why = "is not 0.001 s to less than 300 s in seconds; write it like 10s or 0.5s"
    central.leave_out(key, f"{shown(text)} {why}")
    return ""


def collector_cluster(central: Central, namespace: str, proxy: Proxy) -> Part | None:
    """Return the cluster of the telemetry collector, whose socket Consul configures.

    None: nobody asks for it, or its path cannot be used.
    """
    key = "envoy_telemetry_collector_bind_socket_dir"
    if not (directory := central.text(key)):
        return None
    try:
        path = collector_path(directory, namespace, proxy)
    except ValueError as error:
        central.leave_out(key, str(error))
        return None
    http2 = http_options(explicit_http_config={"http2_protocol_options": {}})
    return {
        "name": COLLECTOR,
        "type": "STATIC",
        "typed_extension_protocol_options": http2,
        "load_assignment": load_assignment(COLLECTOR, {"pipe": {"path": path}}),
    }


def collector_path(directory: str, namespace: str, proxy: Proxy) -> str:
    """Return the path of the telemetry collector's socket, as Consul computes it.

    Raises:
        ValueError: the path is longer than a socket's may be.
    """
    digest = hashlib.sha1(  # noqa: S324  # a name, not a secret
        f"{namespace or 'default'}_{proxy.id}".encode()
    ).digest()
    name = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    path = posixpath.normpath(f"{directory}/{name}.sock")
    return _socket_path(re.sub("^//+", "/", path))


def _collector_sink() -> Part:
    return extension(
        "envoy.stat_sinks.metrics_service",
        f"{_METRICS}.MetricsServiceConfig",
        transport_api_version="V3",
        grpc_service={"envoy_grpc": {"cluster_name": COLLECTOR}},
        emit_tags_as_labels=True,
    )


def sink_address(text: str, env: Mapping[str, str]) -> Part:
    """Return Envoy's Address for `udp://address:port` or `unix:///path`.

    A text that begins with `$` names a variable that holds the whole address. In the
    middle of an address only `$HOST_IP` is replaced.

    Raises:
        ValueError: the text is no such address; the message says why.
    """
    text = _expanded(text, env)
    if wrong := unfit(text):
        raise ValueError(wrong)
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("holds a control character")
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() == "unix":
        return {"pipe": {"path": _unix_path(rest)}}
    if colon and scheme.lower() == "udp" and rest.startswith("//"):
        authority = re.split("[/?#]", rest[2:], maxsplit=1)[0].rpartition("@")[2]
        return socket_address(*host_and_port(authority, _WRITE_IT))
    raise ValueError(_WRITE_IT)


_WRITE_IT = "write it like udp://127.0.0.1:8125 or unix:///path"


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """Replace `$NAME` if it is the whole text, and `$HOST_IP` anywhere."""
    if text.startswith("$") and len(text) > 2:
        return _variable(text[1:], env)

    def replaced(found: re.Match[str]) -> str:
        name = found[1] if found[1] is not None else found[2]
        if name != HOST_IP:
            raise ValueError(f"inside of an address only ${HOST_IP} is replaced")
        return _variable(name, env)

    return re.sub(r"\$(?:\{([^}]*)\}|(\w+))", replaced, text, flags=re.ASCII)


def _variable(name: str, env: Mapping[str, str]) -> str:
    if value := env.get(name, ""):
        return value
    raise ValueError(
        f"the variable {shown(name)} is not set in the controller's own environment"
    )


def _unix_path(rest: str) -> str:
    """Return the path in what follows `unix:` in a URL."""
    if rest.startswith("//"):
        rest = rest[2:]
        rest = rest[rest.index("/") :] if "/" in rest else ""
    path = re.split("[?#]", rest, maxsplit=1)[0]
    if not path.startswith("/") or re.search("%(?![0-9A-Fa-f]{2})", path):
        raise ValueError(_WRITE_IT)
    try:
        path = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("is not Unicode text") from None
    if wrong := unfit(path):
        raise ValueError(wrong)
    return _socket_path(path)


def _socket_path(path: str) -> str:
    if len(path.encode()) > MAX_SOCKET_PATH:
        raise ValueError(
            f"the path of a socket has at most {MAX_SOCKET_PATH} bytes: {shown(path)}"
        )
    return path
