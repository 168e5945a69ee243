"""Which of the listed servers can be servers at all. Pure.

A list is input from the network: one bad address could send every proxy of the host
into a loop, to a stranger, or nowhere.
"""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import NamedTuple

from consul_ebpf.model.values import MAX_SERVERS, Server, host_port

THIS_NETWORK = IPv4Network("0.0.0.0/8")


class Sane(NamedTuple):
    """The servers kept, sorted by id, and a line for each thing left out."""

    kept: tuple[Server, ...]
    rejected: tuple[str, ...]


def sane(
    servers: Iterable[Server], vip_network: IPv4Network, *, loopback: bool = True
) -> Sane:
    """Keep the servers that a connect may be sent to.

    A server with one good and one bad address keeps the good one. Of two servers with
    the same id or endpoint, the first by id stays; of too many, the first by id stay.
    So the same servers in any order give the same result.

    Args:
        servers: as listed.
        vip_network: the range of the VIPs.
        loopback: whether a server may be on this host, because whoever lists it is.
    """
    kept: list[Server] = []
    rejected: list[str] = []
    taken: set[object] = set()
    for server in sorted(servers, key=lambda s: (s.id, str(s.ipv4), str(s.ipv6))):
        if not 1 <= server.port <= 65535:
            rejected.append(f"{_named(server)}: port {server.port} is no port")
            continue
        v4, v6 = server.ipv4, server.ipv6
        for address in (v4, v6):
            if address and (fault := _fault(address, vip_network, loopback)):
                where = host_port(address, server.port)
                rejected.append(f"{_named(server)}: {where} {fault}")
                v4 = None if address is v4 else v4
                v6 = None if address is v6 else v6
        if v4 is None and v6 is None:
            continue
        identities = {server.id, *((a, server.port) for a in (v4, v6) if a)}
        if taken & identities:
            rejected.append(f"{_named(server)}: listed twice")
            continue
        taken |= identities
        kept.append(replace(server, ipv4=v4, ipv6=v6))
    if len(kept) > MAX_SERVERS:
        rejected.append(
            f"{len(kept)} servers are listed: using the first {MAX_SERVERS} by id"
        )
    return Sane(tuple(kept[:MAX_SERVERS]), tuple(rejected))


def _fault(
    address: IPv4Address | IPv6Address, vip_network: IPv4Network, loopback: bool
) -> str:
    """Say what is wrong with an address; empty: nothing."""
    v4 = address if isinstance(address, IPv4Address) else address.ipv4_mapped
    faults = {
        f"is in the VIP range {vip_network}: connects would loop": (
            v4 is not None and v4 in vip_network
        ),
        "is an IPv4-mapped address: list it as IPv4": v4 not in {None, address},
        "is the unspecified address": address.is_unspecified
        or (v4 is not None and v4 in THIS_NETWORK),
        "is on this host, and whoever lists it is not": (
            not loopback and (v4 or address).is_loopback
        ),
        "has a zone, which means something on one host only": (
            isinstance(address, IPv6Address) and bool(address.scope_id)
        ),
        "is a multicast address": address.is_multicast,
        "is a link-local address": address.is_link_local,
        # 240.0.0.0/4, with the broadcast address and Consul's own virtual addresses
        "is a reserved or broadcast address": v4 is not None and v4.is_reserved,
    }
    return next((fault for fault, found in faults.items() if found), "")


def _named(server: Server) -> str:
    return f"server {server.name or server.id} left out"
