"""`[[proxies]]` entries as proxies."""

from collections.abc import Sequence
from ipaddress import ip_address

from consul_ebpf._errors import ConfigError
from consul_ebpf._values import Proxy
from consul_ebpf.config.endpoints import parse_endpoint
from consul_ebpf.config.schema import ProxyEntry
from consul_ebpf.workloads.checks import problems, shown


def to_proxies(entries: Sequence[ProxyEntry], owner: str) -> tuple[Proxy, ...]:
    """Make proxies of entries that all come from `owner`.

    Raises:
        ConfigError: an entry is wrong, like `proxies[2].vip: …`, or an id comes twice.
    """
    proxies = tuple(_to_proxy(entry, i, owner) for i, entry in enumerate(entries))
    seen: dict[str, int] = {}
    for index, proxy in enumerate(proxies):
        if (first := seen.setdefault(proxy.id, index)) != index:
            raise ConfigError(
                f"proxies[{index}].id: {shown(proxy.id)} is that of proxies[{first}]"
                " too; remove one of them"
            )
    return proxies


def check_available(entries: Sequence[ProxyEntry]) -> None:
    """Refuse what an entry may hold and this version does not carry out.

    Raises:
        ConfigError: names the key and what to use instead.
    """
    for index, entry in enumerate(entries):
        if entry.credentials.type:
            raise ConfigError(
                f"proxies[{index}].credentials: a proxy's own are not in this version;"
                " use [consul.credentials]"
            )


def _to_proxy(entry: ProxyEntry, index: int, owner: str) -> Proxy:
    try:
        vip = ip_address(entry.vip) if entry.vip else None
    except ValueError:
        raise ConfigError(
            f"proxies[{index}].vip: {shown(entry.vip)} is not an IP address;"
            " leave it out to have one allocated"
        ) from None
    admin = None
    if entry.admin:
        try:
            address, port = parse_endpoint(entry.admin)
        except ValueError as error:
            raise ConfigError(
                f"proxies[{index}].admin: {shown(entry.admin)}: {error};"
                ' write it like "127.0.0.1:19000"'
            ) from None
        admin = (str(address), port)
    proxy = Proxy(
        id=entry.id,
        node=entry.node,
        namespace=entry.namespace,
        partition=entry.partition,
        service=entry.service,
        vip=vip,
        admin=admin,
        owner=owner,
        netns=entry.netns,
        cgroup=entry.cgroup,
    )
    for field, wrong in problems(proxy):
        value = shown(getattr(proxy, field))
        raise ConfigError(f"proxies[{index}].{field}: {value} {wrong}")
    return proxy
