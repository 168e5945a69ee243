"""Which admin address each proxy's Envoy listens on. Pure.

Envoys in one network namespace cannot share an address: the second one would end. So
proxies that name no address get a port of their own, counted from the configured one.

Rule 1: an address that is asked for goes to the proxy that had it before, else to the
first that asks. The others wait, with a reason.
Rule 2: a proxy keeps the port it had, unless another asks for it.
Rule 3: the others get the lowest free ports. While nothing is remembered, the first
proxy of a namespace gets the configured port even if somebody listens there: that may
be its own Envoy, started under a version that remembered nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

from consul_ebpf.model.names import named
from consul_ebpf.model.values import Proxy, host_port

Address = tuple[str, int]

LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Admin:
    """An admin address, and what its namespace is told by; empty: it is the host's."""

    address: Address
    netns: str = ""
    own: bool = False
    """Whether the proxy had a place or credentials of its own."""


@dataclass(frozen=True, slots=True)
class Told:
    """The proxies with their admin addresses.

    A proxy that has to wait has the reason in `conflict`. `remembered` is for the next
    call of `tell_apart`.
    """

    proxies: tuple[Proxy, ...]
    remembered: Mapping[str, Admin]


def tell_apart(
    proxies: Iterable[Proxy],
    remembered: Mapping[str, Admin],
    default: Address,
    *,
    settings: Mapping[str, Address] | None = None,
    is_busy: Callable[[Address], bool] = lambda _: False,
    keep: bool = False,
) -> Told:
    """Give each proxy its admin address, in the order of the proxies.

    Args:
        proxies: of one host, each key once.
        remembered: the addresses the proxies had, by proxy key.
        default: the first address for proxies that ask for none.
        settings: addresses by proxy id, for proxies that ask for none themselves.
        is_busy: returns whether somebody else on the host listens at an address.
        keep: whether proxies that are not named may still exist.
    """
    asked = {proxy: proxy.admin or (settings or {}).get(proxy.id) for proxy in proxies}
    gone = remembered.keys() - {proxy.key for proxy in asked}
    kept = {each: remembered[each] for each in remembered if keep and each in gone}
    namespaces: dict[str, _Namespace] = {}

    def within(netns: str) -> _Namespace:
        busy = None if netns else is_busy
        fresh = not remembered
        return namespaces.setdefault(netns, _Namespace(default, busy, fresh))

    for key, admin in kept.items():
        within(admin.netns).others[key] = admin.address
    for proxy, ask in asked.items():
        where, had = _namespace_of(proxy), remembered.get(proxy.key)
        namespace = within(where)
        namespace.asked[proxy] = ask
        if had is not None and had.netns == where:
            namespace.had[proxy] = had.address
    found: dict[str, Proxy] = {}
    for namespace in namespaces.values():
        found.update((proxy.key, proxy) for proxy in namespace.place())
    told = tuple(found[proxy.key] for proxy in asked)
    now = {
        proxy.key: Admin(proxy.admin, _namespace_of(proxy), own=proxy.has_own)
        for proxy in told
        if proxy.admin and not proxy.conflict
    }
    lost = {each for namespace in namespaces.values() for each in namespace.lost}
    kept = {each: admin for each, admin in kept.items() if each not in lost}
    return Told(told, {**kept, **now})


def _namespace_of(proxy: Proxy) -> str:
    """Return what tells its network namespace from others.

    Files of its own mean a container. If nobody named the namespace of that, the
    cgroup of its pod stands for it.
    """
    return proxy.netns or (proxy.cgroup if proxy.files else "")


class _Namespace:
    """The addresses of one network namespace."""

    def __init__(
        self, default: Address, is_busy: Callable[[Address], bool] | None, fresh: bool
    ) -> None:
        self._default = default
        self._is_busy = is_busy
        self._fresh = fresh
        self._ports: dict[int, list[tuple[str, str]]] = {}
        """Each port's hosts, and whose they are, in words."""
        self._placed: list[Proxy] = []
        self.asked: dict[Proxy, Address | None] = {}
        self.had: dict[Proxy, Address] = {}
        self.others: dict[str, Address] = {}
        """Addresses of proxies not known now, by key; given only on request."""
        self.lost: set[str] = set()
        """Keys of these whose address another proxy asked for."""

    def place(self) -> list[Proxy]:
        """Apply the rules in turn; return the proxies with their addresses."""
        had = self.had
        wanting = {proxy: ask for proxy, ask in self.asked.items() if ask}
        for proxy in sorted(wanting, key=lambda each: had.get(each) != wanting[each]):
            self._give(proxy, wanting[proxy])
        for proxy in self.asked:
            if proxy.ready:
                self._take(proxy.ready, f"for /ready of {named(proxy)}")
        for key, address in self.others.items():
            if self._whose(*address):
                self.lost.add(key)
            self._take(address, "that of a proxy not known now")
        rest = [proxy for proxy, ask in self.asked.items() if not ask]
        port = self._default[1]
        for proxy in [each for each in rest if not self._keeps(each, had.get(each))]:
            port = self._free(port)
            if port > LAST_PORT:
                self._wait(proxy, "is taken, and all ports after it")
            else:
                self._give(proxy, (self._default[0], port))
        return self._placed

    def _take(self, address: Address, whose: str) -> None:
        host, port = address
        self._ports.setdefault(port, []).append((host, whose))

    def _free(self, port: int) -> int:
        """Return the first free port, from this one on."""
        host, first = self._default
        while port <= LAST_PORT:
            untold = self._fresh and port == first
            if not self._whose(host, port) and (
                untold or self._is_busy is None or not self._is_busy((host, port))
            ):
                break
            port += 1
        return port

    def _keeps(self, proxy: Proxy, had: Address | None) -> bool:
        if had is None or had[0] != self._default[0] or had[1] < self._default[1]:
            return False
        if self._whose(*had):
            return False
        self._give(proxy, had)
        return True

    def _give(self, proxy: Proxy, address: Address) -> None:
        proxy = replace(proxy, admin=address)
        if whose := self._whose(*address):
            self._wait(proxy, f"is {whose}, in the same network namespace")
        else:
            self._take(address, f"that of {named(proxy)}")
            self._placed.append(proxy)

    def _wait(self, proxy: Proxy, why: str) -> None:
        address = host_port(*(proxy.admin or self._default))
        conflict = (
            f"Envoy's admin address {address} {why}; set another (admin), or its netns"
        )
        self._placed.append(replace(proxy, conflict=conflict))

    def _whose(self, host: str, port: int) -> str:
        """Say who has an address, or one that covers it; empty: nobody."""
        for other, whose in self._ports.get(port, ()):
            if host == other or _is_any(host) or _is_any(other):
                return whose
        return ""


def _is_any(host: str) -> bool:
    return ip_address(host).is_unspecified
