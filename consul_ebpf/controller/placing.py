"""Decides which proxy has which VIP, and what the VIP is bound to. Pure.

While a source does not know all its proxies, proxies that no source names may still
exist: their VIPs stay in the kernel, and no other proxy gets them. While a proxy's
namespace or cgroup cannot be identified, its VIP keeps the binding it has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.outcomes import Refused, Trouble
from consul_ebpf.kernel.pods import Bindings, place_of
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.names import named, shown
from consul_ebpf.model.values import (
    Binding,
    PlacedProxy,
    Proxy,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.proxies.vips import ProxyKey, VipRange, allocate, parts_of


@dataclass(frozen=True, slots=True)
class Placement:
    """Which proxies are to be in the kernel, and which cannot be."""

    placed: tuple[PlacedProxy, ...]
    """The proxies to program."""
    bindings: Mapping[Vip, Binding]
    """The VIPs to program: theirs, and those of `kept`."""
    refused: Mapping[str, Refused]
    """The other proxies, by key."""
    kept: Mapping[Vip, Binding]
    """VIPs in the kernel whose proxies no source names now."""
    untold: Mapping[str, Trouble]
    """By key, why a proxy's place cannot be identified; its VIP keeps its binding."""
    remembered: Mapping[ProxyKey, Vip]


def place(
    inputs: Inputs,
    remembered: Mapping[ProxyKey, Vip],
    table: Table,
    capacity: int,
    vips: VipRange,
) -> Placement:
    """Give each proxy its VIP and its binding.

    Args:
        inputs: the proxies, their bindings, and what is not known.
        remembered: the VIPs that proxies had before.
        table: what the kernel holds. If not all proxies fit, those in it stay.
        capacity: how many VIPs the kernel's table can hold.
        vips: the VIPs that proxies can have.
    """
    proxies = inputs.proxies or ()
    unnamed = _unnamed(proxies, remembered) if inputs.lacking else ()
    allocation = allocate((*unnamed, *proxies), remembered, vips)
    others = {proxy.key for proxy in unnamed}
    refused = {
        proxy.key: _refused(proxy, why)
        for proxy, why in allocation.refused
        if proxy.key not in others
    }
    placed = [each for each in allocation.placed if each.proxy.key not in others]
    ours = {each.vip for each in placed}
    kept = {
        vip: table.bindings.get(vip, Binding())
        for vip in (table.vips if inputs.lacking else ())
        if vip not in ours
    }
    placed.sort(key=lambda each: each.vip not in table.vips)
    room = max(0, capacity - len(kept))
    for each in placed[room:]:
        why = f"the VIP table is full with {capacity}: raise kernel.max_proxies"
        refused[each.proxy.key] = _refused(each.proxy, why)
    bound, untold = _bound(placed[:room], inputs.bindings, table, refused)
    placed = [each for each in placed[:room] if each.vip in bound]
    bound |= kept
    return Placement(tuple(placed), bound, refused, kept, untold, allocation.remembered)


def _unnamed(
    proxies: Iterable[Proxy], remembered: Mapping[ProxyKey, Vip]
) -> tuple[Proxy, ...]:
    """Return the proxies that had a VIP and that no source names: they keep it."""
    names = {proxy.key for proxy in proxies}
    return tuple(
        Proxy(id=key, node="", namespace=namespace, partition=partition)
        for key, namespace, partition in map(parts_of, remembered)
        if key not in names
    )


def _bound(
    placed: Iterable[PlacedProxy],
    bindings: Bindings,
    table: Table,
    refused: dict[str, Refused],
) -> tuple[dict[Vip, Binding], dict[str, Trouble]]:
    """Look up the binding of each VIP; refuse proxies whose binding was never known."""
    bound, untold = {}, {}
    for each in placed:
        found = bindings.get(place_of(each.proxy), Missing("not known yet"))
        if not isinstance(found, Missing):
            bound[each.vip] = found
            continue
        held = table.bindings.get(each.vip)
        if held and not found.gone and _of_the_kind(held, each.proxy):
            bound[each.vip] = held
            why = Trouble(bare(each.proxy, found.why), fleeting=found.quiet)
            untold[each.proxy.key] = why
        else:
            refused[each.proxy.key] = _refused(
                each.proxy, found.why, fleeting=found.quiet
            )
    return bound, untold


def _of_the_kind(binding: Binding, proxy: Proxy) -> bool:
    """Whether a binding has a namespace, and a cgroup, exactly if the proxy has."""
    asked = bool(proxy.netns), bool(proxy.cgroup)
    return asked == (bool(binding.netns), bool(binding.cgroup))


def without_a_way(
    placed: Iterable[PlacedProxy], servers: Iterable[SlottedServer]
) -> dict[str, Trouble]:
    """Return the proxies whose VIP is of a family that no server has an address of.

    They are programmed all the same, because such a server may come.
    """
    known = [entry.server for entry in servers]
    missing = {
        ipv6: family
        for ipv6, family in ((False, "IPv4"), (True, "IPv6"))
        if known and not any(each.ipv6 if ipv6 else each.ipv4 for each in known)
    }
    if not missing:
        return {}
    return {
        each.proxy.key: Trouble(
            f"its VIP {each.vip.literal} is {missing[each.vip.ipv6]} and no server has"
            " such an address: give it a VIP of the other kind (127.64.0.1 or"
            " ::ffff:127.64.0.1)"
        )
        for each in placed
        if each.vip.ipv6 in missing
    }


def _refused(proxy: Proxy, why: str, *, fleeting: bool = False) -> Refused:
    trouble = Trouble(bare(proxy, why), fleeting=fleeting)
    return Refused(trouble, proxy.owner, proxy.name)


def bare(proxy: Proxy, text: str) -> str:
    """Remove a proxy's name from the start of a message: many may share the rest."""
    for name in (named(proxy), f"proxy {shown(proxy.name)}", f"proxy {proxy.name}"):
        if text.startswith(f"{name}: "):
            return text.removeprefix(f"{name}: ")
    return text
