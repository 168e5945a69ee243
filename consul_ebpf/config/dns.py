"""Checks `[dns]`, and makes the values of it. Pure.

A mistake here costs DNS and nothing else: the proxies are served all the same. So these
checks are no part of those at which `load` raises.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import PurePath

from consul_ebpf.config.schema import Config, Dns
from consul_ebpf.model.names import shown
from consul_ebpf.model.values import DNS_NAME, Service, Vip
from consul_ebpf.model.vips import check_vip

Problems = Iterator[tuple[str, str]]
"""(key path, what is wrong and what to do) of each problem."""

_USUAL = {"dns.port": 53, "dns.server_port": 8600}


def fault(config: Config) -> str:
    """Say why no host can serve this `[dns]`; empty: DNS is off, or nothing is wrong.

    The checks wait until DNS is on, as its default VIP is wrong where `kernel.vip_cidr`
    is another range.
    """
    found = _problems(config) if config.dns.enabled else iter(())
    return "; ".join(f"{key}: {wrong}" for key, wrong in found)


def _problems(config: Config) -> Problems:
    dns = config.dns
    for key, port in (("dns.port", dns.port), ("dns.server_port", dns.server_port)):
        if not 1 <= port <= 65535:
            yield key, f"{port} is not 1 to 65535; the usual one is {_USUAL[key]}"
    for index, path in enumerate(dns.cgroups):
        if not (PurePath(path).is_absolute() and path.isprintable()):
            wrong = f"{shown(path)} is not an absolute path; begin it with /"
            yield f"dns.cgroups[{index}]", wrong
    yield from _vip(config)


def _vip(config: Config) -> Problems:
    key, text = "dns.vip", config.dns.vip
    if config.dns.port == config.kernel.vip_port:
        # At kernel.vip_port, a connect to an address that is no proxy's VIP is refused.
        yield "dns.port", f"{config.dns.port} is kernel.vip_port; take another, like 53"
    try:
        address = IPv4Address(text)
    except ValueError:
        yield key, f"{shown(text)} is not an IPv4 address; write one like 127.64.0.53"
        return
    try:
        check_vip(address, IPv4Network(config.kernel.vip_cidr))
    except ValueError as error:
        yield key, f"{address} {error}"
    for proxy in config.proxies:
        if _ipv4(proxy.vip) == address:
            yield key, f"{address} is the VIP of proxy {shown(proxy.id)}; take another"


def _ipv4(text: str) -> IPv4Address | None:
    """Return a configured VIP's IPv4 address; None: it is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped if isinstance(address, IPv6Address) else address


def reserved(config: Config) -> dict[IPv4Address, str]:
    """Return the addresses that no proxy can have, each with the key that names it."""
    if not config.dns.enabled or fault(config):
        return {}
    return {vip_of(config.dns).address: "dns.vip"}


def vip_of(dns: Dns) -> Vip:
    """Return the VIP of DNS; it must have no `fault`."""
    return Vip(IPv4Address(dns.vip), dns.port)


def service_of(dns: Dns) -> Service:
    """Return the service that answers queries: the servers' DNS port."""
    return Service(DNS_NAME, dns.server_port)
