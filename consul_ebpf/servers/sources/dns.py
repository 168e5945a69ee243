"""Servers by DNS: A, AAAA and SRV records, for as long as their TTL says."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from consul_ebpf.config.seeds import Name
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Server

LIFETIME = 5.0
"""Seconds for one question, over all nameservers."""

LEAST, MOST = 1.0, 3600.0
"""Bounds of a TTL, in seconds. 0 would be a question without end; and a long one, left
over from before a move, must not hide the move for days."""

Found = tuple[tuple[Server, ...], float]
"""Servers, and in how many seconds to ask again."""

Resolve = Callable[[str, str], Any]
"""dnspython's `resolve(name, type)`."""


def system_resolver() -> Resolve:
    """Return a resolver that does as /etc/resolv.conf says now."""
    # Imported here: only these sources need it.
    import dns.asyncresolver  # noqa: PLC0415

    resolver = dns.asyncresolver.Resolver()
    resolver.lifetime = LIFETIME

    async def resolve(name: str, type_: str) -> Any:
        return await resolver.resolve(name, type_, search=True)

    return resolve


async def look_up(
    name: Name, refresh: float, make_resolver: Callable[[], Resolve] = system_resolver
) -> Found:
    """Return a name's servers, one for each address.

    A name that DNS does not know may be one of /etc/hosts, which has no TTL: it is
    looked up again after `refresh` seconds.

    Raises:
        ConsulError: neither knows it, or there was no answer.
    """
    import dns.exception  # noqa: PLC0415

    try:
        resolve = make_resolver()
        if name.name.startswith("_"):
            return await _services(resolve, name)
        return await _addresses(resolve, name.name, name.port)
    except dns.exception.DNSException as error:
        if not name.name.startswith("_"):
            found = await _by_hosts(name)
            if found:
                return found, refresh
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConsulError(f"DNS name {name.name}: {why}") from None


async def _services(resolve: Resolve, name: Name) -> Found:
    answer = await resolve(name.name, "SRV")
    servers: dict[str, Server] = {}
    ttls = [answer.rrset.ttl]
    for record in answer:
        target = record.target.to_text()
        found, ttl = await _addresses(resolve, target, record.port or name.port)
        servers.update((each.id, each) for each in found)
        ttls.append(ttl)
    return tuple(servers.values()), _bounded(min(ttls))


async def _addresses(resolve: Resolve, name: str, port: int) -> Found:
    """Ask for both families; one that is missing is no error."""
    answers = await asyncio.gather(
        resolve(name, "A"), resolve(name, "AAAA"), return_exceptions=True
    )
    good = [each for each in answers if not isinstance(each, BaseException)]
    if not good:
        raise next(each for each in answers if isinstance(each, BaseException))
    servers = [Server.at(record.address, port) for each in good for record in each]
    return tuple(servers), _bounded(min(each.rrset.ttl for each in good))


async def _by_hosts(name: Name) -> tuple[Server, ...]:
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(name.name, name.port, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(Server.at(str(info[4][0]), name.port) for info in infos)


def _bounded(ttl: float) -> float:
    return min(max(float(ttl), LEAST), MOST)
