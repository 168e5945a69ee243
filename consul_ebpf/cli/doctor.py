"""`doctor`: check what a controller needs here, and say what to do for what fails."""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from consul_ebpf._errors import ConsulEbpfError, KernelFeatureError, PrivilegeError
from consul_ebpf._values import Server
from consul_ebpf.cli.options import configured
from consul_ebpf.config.schema import Config
from consul_ebpf.kernel import host
from consul_ebpf.kernel.loading import bcc_version

MINIMUM_KERNEL = (5, 7)
MINIMUM_BCC = (0, 25)
CONSUL_TIMEOUT = 5.0  # seconds for the source's first answer


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `error` is None where all is well."""

    name: str
    text: str
    error: ConsulEbpfError | None = None


@click.command()
@configured(serving=True)
def doctor(config: Config) -> None:
    """Check kernel, cgroup v2, bpffs, BCC, capabilities and Consul."""
    findings = [
        _find("kernel", _kernel),
        _find("cgroup v2", lambda: f"{host.find_cgroup(config.kernel.cgroup)}"),
        _find("bpffs", lambda: _bpffs(Path(config.kernel.bpffs))),
        _find("capabilities", _capabilities),
        _find("BCC", _bcc),
        *asyncio.run(_consul(config)),
    ]
    for finding in findings:
        mark = "ok  " if finding.error is None else "FAIL"
        click.echo(f"{mark} {finding.name}: {finding.text}")
    codes = [each.error.exit_code for each in findings if each.error is not None]
    sys.exit(max(codes, default=0))


def _find(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, check())
    except ConsulEbpfError as error:
        return Finding(name, str(error), error)


def _kernel() -> str:
    release = os.uname().release
    version = _version(release)
    if version < MINIMUM_KERNEL:
        raise KernelFeatureError(
            f"{release} is too old: Linux {_dotted(MINIMUM_KERNEL)} or newer is needed"
        )
    return release


def _bpffs(path: Path) -> str:
    host.check_bpffs(path)
    return str(path)


def _capabilities() -> str:
    have = host.capabilities()
    missing = {"sys_admin", "net_admin"} - have
    if missing:
        named = ", ".join(sorted(f"CAP_{name.upper()}" for name in missing))
        raise PrivilegeError(
            f"{named} missing, to load and attach: run as root, or grant them in the "
            "unit file"
        )
    return ", ".join(sorted(f"CAP_{name.upper()}" for name in have))


def _bcc() -> str:
    version = bcc_version()
    if _version(version) < MINIMUM_BCC:
        raise KernelFeatureError(
            f"BCC {version} is too old: {_dotted(MINIMUM_BCC)} or newer is needed"
        )
    return version


async def _consul(config: Config) -> list[Finding]:
    """Ask the configured source once, and probe each server it names."""
    from consul_ebpf.discovery.probe import GrpcProbe  # noqa: PLC0415
    from consul_ebpf.wiring import server_source  # noqa: PLC0415

    name = f"Consul ({config.consul.source})"
    servers: tuple[Server, ...] = ()
    try:
        async with asyncio.timeout(CONSUL_TIMEOUT):
            servers = await anext(aiter(server_source(config).watch()))
    except (TimeoutError, ConsulEbpfError) as cause:
        error = ConsulEbpfError(
            f"no answer in {CONSUL_TIMEOUT:g} s from "
            f"{', '.join(config.consul.http_addresses)} ({cause or 'timeout'}): check "
            "consul.http_addresses and that an agent runs there"
        )
        return [Finding(name, str(error), error)]
    if not servers:
        error = ConsulEbpfError(
            "the list of servers is empty: with ACLs on the token needs service:read "
            'on "consul" and node:read'
        )
        return [Finding(name, str(error), error)]
    findings = [Finding(name, f"{len(servers)} servers")]
    probe = GrpcProbe(timeout=config.probe.timeout)
    try:
        for server in servers:
            health = await probe.check(server)
            where = f"server {server.endpoint}"
            if health.alive:
                findings.append(Finding(where, health.reason))
                continue
            error = ConsulEbpfError(
                f"{health.reason}: is ports.grpc set, and the port open from here?"
            )
            findings.append(Finding(where, str(error), error))
    finally:
        await probe.aclose()
    return findings


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
