"""Servers by DNS: A, AAAA and SRV records, asked again when their TTL is over."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.lines import one_line
from consul_ebpf.config.seeds import Name
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources.union import Found

QUESTION_SECONDS = 5.0
"""Seconds for one question, over all nameservers."""

ANSWER_SECONDS = 20.0
"""Seconds for a name: its SRV records and the addresses of their targets."""

AT_ONCE = 8
"""Targets of SRV records that are looked up at the same time."""

MAX_RECORDS = 256
"""Most records of an answer. More is an error: nobody knows which to leave out."""

PAYLOAD = 1232
"""Most bytes of an answer over UDP, by EDNS. A longer one is asked for again over TCP.
Without EDNS the limit is 512 bytes, and Consul leaves out servers to stay below it."""

LEAST, MOST = 1.0, 3600.0
"""Bounds of a TTL, in seconds. With 0 we would ask without pause; a long one, given
before a move, must not hide the move for days."""

Resolve = Callable[[str, str], Awaitable[Any]]
"""dnspython's `resolve(name, type)`."""


def system_resolver() -> Resolve:
    """Return a resolver that follows /etc/resolv.conf as it is now."""
    resolver = dns.asyncresolver.Resolver()
    resolver.lifetime = QUESTION_SECONDS
    return asking(resolver)


def asking(resolver: Any) -> Resolve:
    """Return a function that asks a dnspython resolver, by EDNS if servers allow."""
    resolver.use_edns(0, 0, PAYLOAD)

    async def resolve(name: str, type_: str) -> Any:
        try:
            return await resolver.resolve(name, type_, search=True)
        except dns.resolver.NoNameservers:  # an old one answers EDNS with an error
            resolver.use_edns(-1)
            return await resolver.resolve(name, type_, search=True)

    return resolve


async def look_up(
    name: Name, refresh: float, make_resolver: Callable[[], Resolve] = system_resolver
) -> Found:
    """Return a name's servers, one for each address.

    A name that DNS does not know may be in /etc/hosts. That has no TTL, so the name is
    looked up again after `refresh` seconds.

    Raises:
        ConsulError: neither DNS nor /etc/hosts knows it, or nobody answered.
    """
    what = f"DNS name {one_line(name.name, 260)}"
    with boundary(ConsulError, what):
        try:
            resolve = make_resolver()
            async with asyncio.timeout(ANSWER_SECONDS):
                if name.name.startswith("_"):
                    return await _services(resolve, name)
                return await _addresses(resolve, name.name, name.port)
        except TimeoutError:
            raise ConsulError(
                f"{what}: no answer within {ANSWER_SECONDS:g} s"
            ) from None
        except dns.exception.DNSException as error:
            if not name.name.startswith("_"):
                found = await _by_hosts(name)
                if found:
                    return Found(found, refresh)
            raise ConsulError(f"{what}: {_why(error)}") from None


async def _services(resolve: Resolve, name: Name) -> Found:
    """Return the servers of each target; one that has no address is left out.

    Raises:
        DNSException: there are no targets, or none has an address.
        ConsulError: there are too many.
    """
    answer = await resolve(name.name, "SRV")
    records = _counted(answer, "SRV")
    turns = asyncio.Semaphore(AT_ONCE)

    async def target(record: Any) -> Found | Exception:
        async with turns:
            where = record.target.to_text()
            try:
                return await _addresses(resolve, where, record.port or name.port)
            except Exception as error:  # noqa: BLE001  # this target's alone
                return error

    founds = await asyncio.gather(*map(target, records))
    servers: dict[str, Server] = {}
    left_out: list[str] = []
    failed: list[Exception] = []
    again, partial = _bounded(answer.rrset.ttl), False
    for record, found in zip(records, founds, strict=True):
        if isinstance(found, Exception):
            failed.append(found)
            partial = partial or not _says_no(found)
            left_out.append(
                f"DNS name {one_line(name.name, 260)}: left out its target"
                f" {one_line(record.target.to_text(), 260)}: {_why(found)}"
            )
            continue
        servers.update((each.id, each) for each in found.servers)
        again, partial = min(again, found.again), partial or found.partial
    if not servers:
        raise failed[0] if failed else ConsulError("no target has an address")
    return Found(tuple(servers.values()), again, tuple(sorted(left_out)), partial)


async def _addresses(resolve: Resolve, name: str, port: int) -> Found:
    """Ask for A and AAAA records; it is no error if one of them is missing."""
    kinds = ("A", "AAAA")
    answers = await asyncio.gather(
        *(resolve(name, kind) for kind in kinds), return_exceptions=True
    )
    servers: list[Server] = []
    ttls: list[float] = []
    failed: list[BaseException] = []
    for kind, answer in zip(kinds, answers, strict=True):
        if isinstance(answer, BaseException):
            failed.append(answer)
            continue
        records = _counted(answer, kind)
        servers.extend(Server.at(record.address, port) for record in records)
        ttls.append(answer.rrset.ttl)
    if not ttls:
        # Prefer an error that says more than "this name has no such record".
        raise next((each for each in failed if not _says_no(each)), failed[0])
    partial = any(not _says_no(each) for each in failed)
    return Found(tuple(servers), _bounded(min(ttls)), partial=partial)


def _counted(answer: Any, kind: str) -> list[Any]:
    records = list(answer)
    if len(records) > MAX_RECORDS:
        raise ConsulError(
            f"it has {len(records)} {kind} records; at most {MAX_RECORDS} are taken"
        )
    return records


def _says_no(error: BaseException) -> bool:
    """Whether a name server answered that there is no such record."""
    return isinstance(error, dns.resolver.NXDOMAIN | dns.resolver.NoAnswer)


async def _by_hosts(name: Name) -> tuple[Server, ...]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            infos = await loop.getaddrinfo(
                name.name, name.port, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError, TimeoutError):
        return ()
    # An address with a zone, like fe80::1%eth0, is valid on one interface only.
    addresses = dict.fromkeys(str(info[4][0]) for info in infos)
    return tuple(Server.at(each, name.port) for each in addresses if "%" not in each)


def _why(error: BaseException) -> str:
    """Return the reason in words that do not change while the reason does not."""
    if isinstance(error, dns.exception.Timeout):
        return "no name server answers"
    return one_line(error, 200) or type(error).__name__


def _bounded(ttl: float) -> float:
    return min(max(float(ttl), LEAST), MOST)
