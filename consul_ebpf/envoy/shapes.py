"""What every Envoy demands of the parts that people write themselves. Pure.

Fields that only a newer Envoy knows are accepted. Each `wrong_` function returns why
Envoy would not start with a part; empty: no reason is known.
"""

import re
from ipaddress import IPv6Address, ip_address
from typing import Any

from consul_ebpf.envoy.parts import Address, Part
from consul_ebpf.model.names import shown


def wrong_cluster(cluster: Part) -> str:
    """Say what is wrong with a Cluster."""
    name = cluster.get("name")
    if not (isinstance(name, str) and name):
        return "a cluster needs a name"
    kinds = {"load_assignment": dict, "connect_timeout": str, "type": (str, int)}
    return _wrong_kinds(cluster, kinds, f"cluster {shown(name)}")


def wrong_listener(listener: Part) -> str:
    """Say what is wrong with a Listener."""
    name = listener.get("name", "")
    if not isinstance(name, str):
        return "a listener's name is a text"
    what = f"listener {shown(name)}"
    if field(listener, "api_listener") or field(listener, "internal_listener"):
        return ""
    address = listener.get("address")
    if not (isinstance(address, dict) and address):
        return f"{what} needs an address"
    chains = field(listener, "filter_chains")
    if not isinstance(chains, list | None):
        return f"{what}: filter_chains is a list"
    socket = field(address, "socket_address")
    packets = isinstance(socket, dict) and socket.get("protocol") in {"UDP", 1}
    if not (chains or packets or field(listener, "default_filter_chain") is not None):
        return f"{what} needs filter_chains"
    return "" if socket is None else _wrong_socket(socket, what)


def socket_of(listener: Part) -> Address | None:
    """Return where a listener listens; None: not at an IP address and port.

    `wrong_listener` must have found nothing wrong with it.
    """
    socket = field(listener.get("address") or {}, "socket_address")
    if not isinstance(socket, dict):
        return None
    port = field(socket, "port_value")
    return str(ip_address(socket["address"])), int(port)


def wrong_sink(sink: Part) -> str:
    """Say what is wrong with a StatsSink."""
    return _wrong_extension(sink, "a stats sink")


def wrong_stats_config(config: Part) -> str:
    """Say what is wrong with a StatsConfig."""
    kinds = {
        "stats_tags": list,
        "use_all_default_tags": (bool, str),
        "stats_matcher": dict,
        "histogram_bucket_settings": list,
    }
    return _unknown(config, kinds) or _wrong_kinds(config, kinds, "it")


def wrong_tracing(tracing: Part) -> str:
    """Say what is wrong with a Tracing."""
    http = tracing.get("http")
    if wrong := _unknown(tracing, {"http": dict}):
        return wrong
    if http is None:
        return ""
    if not isinstance(http, dict):
        return "http is a JSON object"
    if not http.get("name"):
        return "http needs a name"
    return _wrong_extension(http, "http")


def host_and_port(text: str, write_it: str) -> Address:
    """Return the IP address and the port in a text; the last colon separates them.

    An IPv6 address needs no brackets. A zone is refused: its number differs between
    network namespaces, and Envoy does not start where it does not exist.

    Args:
        text: what was written.
        write_it: ends the error: how to write it.

    Raises:
        ValueError: the text is no address and port.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("0|[1-9][0-9]{0,4}", port) or int(port) > 65535:
        raise ValueError(f"the port is missing or not 0 to 65535; {write_it}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(f"not an IP address; {write_it}") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError(f"an address with a zone does not work here; {write_it}")
    return str(address), int(port)


def field(part: Part, name: str) -> Any:
    """Return a field by its name, or by protobuf's name for it in JSON."""
    first, *rest = name.split("_")
    return part.get(name, part.get(first + "".join(map(str.capitalize, rest))))


def _wrong_extension(part: Part, what: str) -> str:
    config = field(part, "typed_config")
    if not isinstance(part.get("name", ""), str):
        return f"the name of {what} is a text"
    kind = config.get("@type") if isinstance(config, dict) else None
    if not (isinstance(kind, str) and kind.startswith("type.googleapis.com/")):
        return f'{what} needs a typed_config with "@type": "type.googleapis.com/..."'
    return ""


def _wrong_socket(socket: Any, what: str) -> str:
    if not isinstance(socket, dict):
        return f"{what}: socket_address is a JSON object"
    try:
        address = socket.get("address")
        ip_address(address if isinstance(address, str) else "")
    except ValueError:
        return f"{what}: its address is not an IP address"
    port = field(socket, "port_value")
    digits = str(port) if type(port) in {int, str} else ""
    if not (digits.isascii() and digits.isdecimal() and int(digits[:9]) < 65536):
        return f"{what}: its port_value is not 0 to 65535"
    return ""


def _wrong_kinds(part: Part, kinds: dict[str, Any], what: str) -> str:
    for name, kind in kinds.items():
        value = field(part, name)
        if value is not None and not isinstance(value, kind):
            return f"{name} of {what} is of the wrong kind"
    return ""


def _unknown(part: Part, known: dict[str, Any]) -> str:
    for name in part:
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        if name not in known and snake not in known:
            return f"Envoy knows no field {shown(name)} there"
    return ""
