"""`doctor`: checks what a controller needs here, and says what to do if it fails."""

import asyncio
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from consul_ebpf.cli.dns_way import try_dns
from consul_ebpf.cli.findings import Finding, told
from consul_ebpf.cli.granted import find_capabilities
from consul_ebpf.cli.kubernetes_node import find_node
from consul_ebpf.cli.limits import find_limit
from consul_ebpf.cli.options import configured
from consul_ebpf.cli.output import say
from consul_ebpf.cli.whole_way import try_whole_way
from consul_ebpf.client.token import TokenFile
from consul_ebpf.config.schema import Config, Credentials
from consul_ebpf.kernel import host
from consul_ebpf.kernel.bpffs import check_bpffs, open_to_others
from consul_ebpf.kernel.loader import bcc_version
from consul_ebpf.model.errors import (
    ConsulEbpfError,
    KernelFeatureError,
    NotRunningError,
)
from consul_ebpf.model.values import Server
from consul_ebpf.views.ailments import Level
from consul_ebpf.views.picture import Pictures
from consul_ebpf.views.status import Status
from consul_ebpf.wiring.files import gatherer
from consul_ebpf.wiring.looking import LookingParts

MINIMUM_KERNEL = (5, 7)
MINIMUM_BCC = (0, 25)
FIRST_USER_PORT = 1024
"""The first port that any user may listen on."""
CONSUL_SECONDS = 5.0
"""Seconds that the source of servers has for its first answer."""


@click.command()
@configured(serving=True)
def doctor(config: Config) -> None:
    """Check kernel, cgroup v2, bpffs, BCC, capabilities and Consul."""
    # Raises SystemExit, so that what a check made is removed, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    findings = [
        _find("kernel", _kernel),
        _find("cgroup v2", lambda: f"{host.find_cgroup(config.kernel.cgroup)}"),
        *_bpffs(Path(config.kernel.bpffs)),
        *_plaintext(config),
        *find_capabilities(config),
        _find("BCC", _bcc),
        *_host(config),
        *find_node(config),
        *_token_files(config.consul.credentials),
        *asyncio.run(_consul(config)),
    ]
    for line in told(findings):
        say(line)
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


def _bpffs(path: Path) -> Iterator[Finding]:
    found = _find("bpffs", lambda: _mounted(path))
    yield found
    if found.error is None and open_to_others(path):
        text = (
            f"any user may write to {path}, and could make the controller's directory"
            f" first: mount -o remount,mode=700 {path}"
        )
        yield Finding("bpffs mode", text, warn=True)


def _mounted(path: Path) -> str:
    check_bpffs(path)
    return str(path)


def _plaintext(config: Config) -> Iterator[Finding]:
    """Warn where another process of this host could be sent a token."""
    kernel = config.kernel
    if config.consul.tls.disabled and kernel.vip_port >= FIRST_USER_PORT:
        text = (
            f"{kernel.vip_port}, in plaintext: while no program is attached, a process"
            " of this host that listens on it gets the Envoys' tokens; set a port below"
            " 1024, where only root can listen"
        )
        yield Finding("kernel.vip_port", text, warn=True)


def _host(config: Config) -> list[Finding]:
    """Return what is attached on this host already, and whether its limits suffice."""
    served = 0
    try:
        shown = Pictures().add(gatherer(config).take()).status
    except NotRunningError:
        found = [Finding("attached", "nothing yet: run attaches the programs")]
    except ConsulEbpfError as error:
        found = [Finding("attached", str(error), error)]
    else:
        found, served = _attached(shown), len(shown.proxies)
    return [*found, find_limit(config, served)]


def _attached(shown: Status) -> list[Finding]:
    """Return what is attached, whether a controller runs, and which VIPs are bound."""
    kernel, controller = shown.kernel, shown.controller
    where = f"at {kernel.cgroup}" if kernel.attached else "NOT attached: start run"
    running = f"pid {controller.pid}" if controller.running else "not running"
    free = [each.id or each.vip for each in shown.proxies if not each.bound]
    bound = len(shown.proxies) - len(free)
    named = f"; not bound: {', '.join(free[:10])}" if free else ""
    more = " ..." if len(free) > 10 else ""
    level = shown.verdict.level
    verdict = f"{level.value.upper()}: {shown.verdict.summary}"
    if worst := shown.verdict.ailments[:1]:
        verdict += f"; {worst[0].what}; what to do: consul-ebpf status"
    return [
        Finding("status", verdict, warn=level is not Level.OK),
        Finding("attached", where, warn=not kernel.attached),
        Finding("controller", running, warn=not controller.running),
        Finding(
            "VIPs",
            f"{bound} of {len(shown.proxies)} bound to their pods{named}{more}",
        ),
    ]


def _bcc() -> str:
    version = bcc_version()
    if _version(version) < MINIMUM_BCC:
        raise KernelFeatureError(
            f"BCC {version} is too old: {_dotted(MINIMUM_BCC)} or newer is needed"
        )
    return version


def _token_files(credentials: Credentials) -> Iterator[Finding]:
    """Read the token's file, or a login's: only the catalog source does so itself."""
    for key in ("token_file", "bearer_token_file"):
        if path := getattr(credentials, key):
            yield _find(f"consul.credentials.{key}", functools.partial(_token_in, path))


def _token_in(path: str) -> str:
    TokenFile(path)()
    return f"{path} holds a token"


async def _consul(config: Config) -> list[Finding]:
    """Ask the configured source once, and probe each server that it names."""
    parts = LookingParts(config)
    name = f"Consul ({config.consul.source})"
    catalog = config.consul.source == "catalog"
    key = "http_addresses" if catalog else "addresses"
    asked: list[str] = getattr(config.consul, key)
    servers: tuple[Server, ...] = ()
    try:
        async with asyncio.timeout(CONSUL_SECONDS):
            servers = await anext(aiter(parts.server_source(parts.kept_token).watch()))
    except (TimeoutError, ConsulEbpfError) as cause:
        error = ConsulEbpfError(
            f"no answer in {CONSUL_SECONDS:g} s from {', '.join(asked)}"
            f" ({cause or 'timeout'}): check consul.{key} and that Consul runs there"
        )
        return [Finding(name, str(error), error)]
    if not servers:
        error = ConsulEbpfError(
            "the list of servers is empty: with ACLs on the token needs service:read "
            'on "consul" and node:read'
        )
        return [Finding(name, str(error), error)]
    findings = [Finding(name, f"{len(servers)} servers")]
    port = "ports.grpc" if config.consul.tls.disabled else "ports.grpc_tls"
    probe = parts.probe()
    try:
        alive = []
        for server in servers:
            health = await probe.check(server)
            where = f"server {server.endpoint}"
            if health.alive:
                findings.append(Finding(where, health.reason))
                alive.append(server)
                continue
            error = ConsulEbpfError(
                f"{health.reason}: is {port} set, and the port open from here?"
            )
            findings.append(Finding(where, str(error), error))
    finally:
        await probe.aclose()
    findings += await try_whole_way(config.kernel, parts, alive)
    if config.dns.enabled:
        findings += await try_dns(config, parts, servers)
    return findings


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
