"""What a proxy may be called. Pure; the same rules wherever a proxy comes from."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from consul_ebpf._errors import InvalidProxyError
from consul_ebpf._values import Proxy

MAX_ID = 200
"""Bytes of UTF-8. An id is a directory's name, and those end at 255."""

MAX_NAME = 512
"""Bytes of UTF-8 of the other names."""

OWN_SUFFIXES = (".json", ".bad", ".tmp")
"""Our own files lie beside the proxies' directories and end so."""


def check_proxy(proxy: Proxy) -> None:
    """Refuse a proxy that cannot have a directory, a bootstrap or a line in a log.

    Raises:
        InvalidProxyError: naming the proxy, the field, and what to do.
    """
    for field, wrong in problems(proxy):
        whose = f" ({proxy.owner})" if proxy.owner else ""
        raise InvalidProxyError(f"proxy {shown(proxy.id)}{whose}: {field} {wrong}")


def problems(proxy: Proxy) -> list[tuple[str, str]]:
    """Return (field, what is wrong and what to do) for each field that is wrong."""
    wrong = {
        "id": _wrong_id(proxy.id),
        "node": _wrong_name(proxy.node),
        "service": _wrong_name(proxy.service),
        "namespace": _wrong_tenancy(proxy.namespace),
        "partition": _wrong_tenancy(proxy.partition),
    }
    return [(field, text) for field, text in wrong.items() if text]


def check_vip(
    vip: IPv4Address | IPv6Address, network: IPv4Network
) -> tuple[IPv4Address, bool]:
    """Return a VIP's IPv4 address and whether it was written as mapped IPv6.

    Raises:
        ValueError: it is not an address of `network` that a host may have.
    """
    ipv6 = isinstance(vip, IPv6Address)
    address = vip.ipv4_mapped if isinstance(vip, IPv6Address) else vip
    if address is None:
        raise ValueError(f"must be IPv4 or ::ffff: and IPv4; take one of {network}")
    if address not in network:
        raise ValueError(f"is not in kernel.vip_cidr {network}; take one of those")
    first, last = usable(network)
    if not int(first) <= int(address) <= int(last):
        raise ValueError(f"is not a host's address; take {first} to {last}")
    return address, ipv6


def usable(network: IPv4Network) -> tuple[IPv4Address, IPv4Address]:
    """Return the first and the last address a host may have."""
    whole = network.prefixlen >= network.max_prefixlen - 1
    edge = 0 if whole else 1
    return network.network_address + edge, network.broadcast_address - edge


def shown(name: str) -> str:
    """Quote a name for a message: one line, printable, not endless."""
    return ascii(name if len(name) <= 80 else f"{name[:77]}...")


def _wrong_id(id_: str) -> str:
    if not id_:
        return "is empty; write the proxy service's ID in Consul"
    if wrong := _wrong_text(id_, MAX_ID):
        return wrong
    if "/" in id_:
        return "holds a '/'; it becomes a directory's name, register it without"
    if id_.startswith((".", "-")):
        return f"begins with {id_[0]!r}; it becomes a directory's name, rename it"
    if id_.endswith(OWN_SUFFIXES):
        return f"ends with {id_[id_.rindex('.') :]!r}, as our own files do; rename it"
    return ""


def _wrong_name(name: str) -> str:
    return _wrong_text(name, MAX_NAME)


def _wrong_tenancy(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        return "must be 1 to 64 letters, digits, '-' or '_'"
    return ""


def _wrong_text(text: str, limit: int) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "is not Unicode text"
    if size > limit:
        return f"is {size} bytes long; at most {limit} are allowed"
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text):
        return "holds a control character; remove it"
    return ""
