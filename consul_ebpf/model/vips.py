"""Which addresses are VIPs. Pure."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address

VIP_NETWORK = IPv4Network("127.64.0.0/10")
"""The default range of the VIPs."""


def check_vip(
    vip: IPv4Address | IPv6Address, network: IPv4Network
) -> tuple[IPv4Address, bool]:
    """Return a VIP's IPv4 address, and whether it was written as IPv4-mapped IPv6.

    Raises:
        ValueError: it is not a host's address in `network`.
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
    """Return the first and the last address that a host can have in a network."""
    whole = network.prefixlen >= network.max_prefixlen - 1
    edge = 0 if whole else 1
    return network.network_address + edge, network.broadcast_address - edge
