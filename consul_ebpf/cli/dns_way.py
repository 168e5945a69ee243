"""`doctor`: asks DNS at each server directly, and then through the VIP.

So it finds out if a server's DNS port is closed, if ACLs hide the answers, if the
servers have another domain, if nothing redirects the VIP, if another process has the
VIP's port, or if one way to ask (UDP, connected UDP, TCP) fails where others do not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode

from consul_ebpf.base.boundary import reason
from consul_ebpf.cli.findings import Finding
from consul_ebpf.config.dns import fault, service_of, vip_of
from consul_ebpf.config.schema import Config
from consul_ebpf.dns.probe import ask, question
from consul_ebpf.kernel import host
from consul_ebpf.kernel.scratch import inside
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import Server, Vip
from consul_ebpf.wiring.consul import Parts
from consul_ebpf.wiring.files import gatherer

SECONDS = 3.0
"""For each way: a lost query is not sent again."""

TABLES = {"udp": "07", "tcp": "0A"}
"""Tables in /proc/net, each with the state of a socket that receives or listens."""

LIMITS = (
    "unlike consul-dataplane's DNS proxy, this adds no pod's token or tenancy: a server"
    " answers with its own `dns` token (acl.tokens.dns), else the anonymous one. Give"
    " the servers a `dns` token; for other tenancies ask names with .ns and .ap, or"
    " prepared queries"
)

Ask = Callable[[dns.message.QueryMessage, Vip], Awaitable[dns.message.Message]]


async def try_dns(
    config: Config, parts: Parts, servers: Sequence[Server]
) -> list[Finding]:
    """Ask each server, then the VIP; return a finding for each step."""
    if wrong := fault(config):
        return [Finding.failed("DNS", f"not served: {wrong}")]
    probe = parts.dns_probe()
    findings = [
        judged(
            f"DNS of server {service_of(config.dns).shown_at(server)}",
            await probe.check(server),
            config.consul.domain,
        )
        for server in servers
    ]
    vip = vip_of(config.dns)
    free = Finding(f"port {vip.port}", f"no other process listens at {vip}")
    findings += list(taken(vip, Path("/proc/net"))) or [free]
    findings += absent(config.dns.cgroups)
    if _attached(config):
        findings += await _by_vip_in_cgroup(config, vip)
    else:
        text = f"not tried: nothing redirects {vip} yet; run attaches the programs"
        findings.append(Finding("DNS by the VIP", text, warn=True))
    return [*findings, Finding("DNS and ACLs", LIMITS)]


def judged(name: str, health: Health, domain: str) -> Finding:
    """Return a server's finding: what its answer means, and what to do."""
    if not health.alive:
        why = f"{health.reason}: is ports.dns set there, and is it dns.server_port?"
        return Finding.failed(name, why)
    if health.reason.startswith("NXDOMAIN"):
        why = f"{health.reason}: ACLs hide all from DNS; give the servers a `dns` token"
        return Finding(name, why, warn=True)
    if health.reason.startswith("REFUSED"):
        why = f"{health.reason}: the servers' domain is not consul.domain ({domain})"
        return Finding(name, why, warn=True)
    return Finding(name, health.reason)


def taken(vip: Vip, proc_net: Path) -> Iterator[Finding]:
    """Yield a warning for each other process that listens at the VIP and its port."""
    for kind, state in TABLES.items():
        for path in (proc_net / kind, proc_net / f"{kind}6"):
            for address in listening(path, vip.port, state):
                if address in {vip.address, IPv4Address(0)}:
                    text = (
                        f"a process listens at {address}, perhaps a stub resolver:"
                        " while no program is attached it gets the queries to the VIP,"
                        " and none otherwise"
                    )
                    yield Finding(f"{kind.upper()} port {vip.port}", text, warn=True)


def listening(path: Path, port: int, state: str) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses at which a table of /proc/net has sockets on a port.

    An IPv6 socket on all addresses receives IPv4, too.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, local, _, found, *_ = line.split()
        text, _, number = local.partition(":")
        if int(number, 16) != port or found != state:
            continue
        words = [
            bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)
        ]
        address = ip_address(b"".join(words))
        if isinstance(address, IPv4Address):
            yield address
        elif mapped := address.ipv4_mapped:
            yield mapped
        elif address.is_unspecified:
            yield IPv4Address(0)


def _attached(config: Config) -> bool:
    try:
        account = gatherer(config).take().dns
    except ConsulEbpfError:
        return False
    return account is not None and account.attached


def absent(cgroups: Sequence[str]) -> Iterator[Finding]:
    """Say which cgroups that may ask are not there."""
    for path in cgroups:
        if not Path(path).is_dir():
            text = f"{path} is not there: until it is, nothing in it can ask"
            yield Finding("dns.cgroups", text, warn=True)


def _asking(config: Config) -> Path:
    """Return a cgroup that may ask."""
    there = [Path(path).resolve() for path in config.dns.cgroups if Path(path).is_dir()]
    return there[0] if there else host.find_cgroup(config.kernel.cgroup)


async def _by_vip_in_cgroup(config: Config, vip: Vip) -> list[Finding]:
    """Ask by the VIP each way, from where the program leads queries."""
    try:
        with inside(_asking(config)):
            return [await _by_vip(config, vip, way) for way in WAYS]
    except (ConsulEbpfError, OSError) as error:
        return [Finding("DNS by the VIP", f"not tried: {reason(error)}", warn=True)]


async def _by_vip(config: Config, vip: Vip, way: str) -> Finding:
    """Ask the VIP in one of `WAYS`."""
    name = f"DNS by the VIP {vip} ({way})"
    try:
        async with asyncio.timeout(SECONDS):
            answer = await WAYS[way](question(config.consul.domain), vip)
    except (TimeoutError, dns.exception.Timeout):
        return Finding.failed(name, f"no answer in {SECONDS:g} s")
    except PermissionError:
        if config.dns.cgroups:
            text = "refused: doctor runs in none of dns.cgroups, or no server is ready"
            return Finding(name, text, warn=True)
        return Finding.failed(name, "refused by our program: no server's DNS is ready")
    except ConnectionRefusedError:
        text = "nothing redirects it: the query never came to our program"
        return Finding.failed(name, text)
    except Exception as error:  # noqa: BLE001  # any error is a finding
        return Finding.failed(name, reason(error))
    return Finding(name, dns.rcode.to_text(answer.rcode()))


WAYS: dict[str, Ask] = {
    "UDP": lambda query, vip: dns.asyncquery.udp(
        query, str(vip.address), port=vip.port
    ),
    "UDP, connected": lambda query, vip: ask(query, (str(vip.address), vip.port)),
    "TCP": lambda query, vip: dns.asyncquery.tcp(
        query, str(vip.address), port=vip.port
    ),
}
"""How resolvers ask. dnspython refuses an answer from any other address."""
