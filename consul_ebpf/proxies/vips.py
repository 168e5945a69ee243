"""Which proxy gets which VIP. Pure.

Rule 1: a proxy keeps its VIP as long as it is there and asks for no other.
Rule 2: a VIP that is asked for is given before others are allocated, to the proxy that
comes first.
Rule 3: each other proxy gets a VIP that no remembered proxy had. If there is none, it
gets the one released longest ago, so that an Envoy that still starts from an old
bootstrap does not meet another proxy's VIP.
Rule 4: an address reserved for something else is given to no proxy. A proxy that has it
already keeps it: their ports differ, so the kernel tells the two apart.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import islice

from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.names import check_proxy, named, unique
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip
from consul_ebpf.model.vips import VIP_NETWORK, check_vip, usable

MAX_RELEASED = 4096
"""Most VIPs that are remembered for proxies that are gone."""

ProxyKey = str | tuple[str, str, str]
"""A proxy's key; with its namespace and partition, unless both are `default`."""

DEFAULT = "default"


def key_of(proxy: Proxy) -> ProxyKey:
    """Return the key under which a proxy's VIP is remembered.

    If the proxy's key is not its id, the key alone is enough: namespace and partition
    come from Consul, like the id, and perhaps later.
    """
    if proxy.key != proxy.id:
        return proxy.key
    return key_from(proxy.key, proxy.namespace, proxy.partition)


def key_from(key: str, namespace: str, partition: str) -> ProxyKey:
    """Return the key under which a proxy's VIP is remembered, of these parts."""
    if namespace == partition == DEFAULT:
        return key  # 65,536 tuples would take 4 MB
    return key, namespace, partition


def parts_of(key: ProxyKey) -> tuple[str, str, str]:
    """Return a proxy's key, namespace and partition."""
    return (key, DEFAULT, DEFAULT) if isinstance(key, str) else key


@dataclass(frozen=True, slots=True)
class VipRange:
    """The VIPs that there are: the addresses of a network, at one port."""

    network: IPv4Network = VIP_NETWORK
    port: int = 8502
    reserved: Mapping[IPv4Address, str] = field(default_factory=dict)
    """Addresses that are given to no proxy, each with what has it."""


_Asking = tuple[Proxy, IPv4Address | None, bool]
"""A proxy, the VIP it asks for, and whether it is to be written as IPv6."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which proxies got a VIP, and which did not and why.

    `remembered` is for the next call of `allocate`. It is in order: the VIP released
    longest ago first, those in use last.
    """

    placed: tuple[PlacedProxy, ...]
    refused: tuple[tuple[Proxy, str], ...]
    remembered: Mapping[ProxyKey, Vip]


def allocate(
    proxies: Iterable[Proxy],
    remembered: Mapping[ProxyKey, Vip],
    vips: VipRange,
) -> Allocation:
    """Give each proxy a VIP of the range, in the order of the proxies.

    A proxy that gets none is refused with one line: its name, who has the VIP it asks
    for, and what to do. The others are not affected.
    """
    asking, refused = _asking(proxies, vips.network)
    holders, unlucky = _settled(asking, remembered, vips)
    refused += unlucky

    losers = {proxy.key for proxy, _ in unlucky}
    settled = {proxy.key: address for address, proxy in holders.items()}
    free = _free(vips.network, {*holders, *vips.reserved}, remembered)
    placed = []
    for proxy, _, ipv6 in asking:
        if proxy.key in settled:
            address: IPv4Address | None = settled[proxy.key]
        elif proxy.key in losers:
            continue
        elif (address := next(free, None)) is not None:
            holders[address] = proxy
        if address is None:
            why = f"{named(proxy)}: refused, no VIP is left; widen kernel.vip_cidr"
            refused.append((proxy, why))
        else:
            placed.append(PlacedProxy(proxy, Vip(address, vips.port, ipv6=ipv6)))
    return Allocation(
        tuple(placed), tuple(refused), _remember(placed, holders, remembered)
    )


def _asking(
    proxies: Iterable[Proxy], network: IPv4Network
) -> tuple[list[_Asking], list[tuple[Proxy, str]]]:
    """Return the proxies with the VIP each asks for, and those refused, in order."""
    distinct, refused = unique(proxies)
    asking: list[_Asking] = []
    wrong = list(refused)
    for proxy in distinct:
        asked, ipv6 = None, False
        try:
            check_proxy(proxy)
            if proxy.vip is not None:
                asked, ipv6 = check_vip(proxy.vip, network)
        except InvalidProxyError as error:
            wrong.append((proxy, str(error)))
        except ValueError as error:
            wrong.append((proxy, f"{named(proxy)}: refused, VIP {proxy.vip} {error}"))
        else:
            asking.append((proxy, asked, ipv6))
    return asking, wrong


def _settled(
    asking: Iterable[_Asking],
    remembered: Mapping[ProxyKey, Vip],
    vips: VipRange,
) -> tuple[dict[IPv4Address, Proxy], list[tuple[Proxy, str]]]:
    """Apply rules 1, 2 and 4: return who has which VIP, and who is refused and why."""
    first, last = map(int, usable(vips.network))
    holders: dict[IPv4Address, Proxy] = {}
    for proxy, asked, _ in asking:
        kept = remembered.get(key_of(proxy))
        if kept is None or asked not in {None, kept.address}:
            continue
        if first <= kept.number <= last:
            holders.setdefault(kept.address, proxy)
    unlucky = []
    for proxy, asked, _ in asking:
        if asked is None:
            continue
        if asked in vips.reserved and asked not in holders:
            owner = vips.reserved[asked]
        elif holders.setdefault(asked, proxy) is not proxy:
            owner = named(holders[asked])
        else:
            continue
        whose = f"VIP {asked} is that of {owner}"
        why = f"{named(proxy)}: refused, {whose}; give it another"
        unlucky.append((proxy, why))
    return holders, unlucky


def _free(
    network: IPv4Network,
    taken: AbstractSet[IPv4Address],
    remembered: Mapping[ProxyKey, Vip],
) -> Iterator[IPv4Address]:
    """Yield the VIPs nobody has, in the order to give them away."""
    used = {int(address) for address in taken}
    used |= {vip.number for vip in remembered.values()}
    first, last = map(int, usable(network))
    for number in range(first, last + 1):
        if number not in used:
            yield IPv4Address(number)
    for vip in remembered.values():
        if vip.address not in taken and first <= vip.number <= last:
            yield vip.address


def _remember(
    placed: Iterable[PlacedProxy],
    holders: Mapping[IPv4Address, Proxy],
    remembered: Mapping[ProxyKey, Vip],
) -> dict[ProxyKey, Vip]:
    in_use = {key_of(each.proxy): each.vip for each in placed}
    released = {
        key: vip
        for key, vip in remembered.items()
        if key not in in_use and vip.address not in holders
    }
    surplus = max(0, len(released) - MAX_RELEASED)
    return {**dict(islice(released.items(), surplus, None)), **in_use}
