"""`status` and `render`: look, and change nothing."""

import asyncio
from ipaddress import IPv4Network
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.options import configured, for_proxy
from consul_ebpf.cli.output import say, say_json
from consul_ebpf.config import dns
from consul_ebpf.config.schema import Config
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import PlacedProxy, Proxy
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.vips import allocate
from consul_ebpf.views.status import ControllerStatus, Status, status_of
from consul_ebpf.wiring.consul import Parts
from consul_ebpf.wiring.files import (
    gatherer,
    renderer,
)
from consul_ebpf.wiring.host import workload_source

WORKLOADS_TIMEOUT = 10.0  # seconds until each source of proxies must have answered


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@configured(serving=False)
def status(config: Config, *, as_json: bool) -> None:
    """Show what the kernel holds and counted, with or without a controller."""
    shown = status_of(gatherer(config).take())
    if as_json:
        say_json(shown.to_json())
    else:
        _print_tables(shown)


def _print_tables(shown: Status) -> None:
    console = Console()
    kernel, controller = shown.kernel, shown.controller
    servers = RichTable(title="Consul servers", title_justify="left")
    for name in ("server", "slot", "state", "connects", "active", "failures"):
        servers.add_column(name, justify="left" if name == "server" else "right")
    for server in shown.servers:
        servers.add_row(
            escape(printable(f"{server.address}:{server.port}")),
            str(server.slot),
            server.state,
            str(server.connects),
            str(server.active),
            str(server.failures),
        )
    proxies = RichTable(title="Proxies", title_justify="left")
    for name in (
        "proxy",
        "VIP",
        "bound",
        "last sent to",
        "connected",
        "connects",
        "preference",
        "admin",
    ):
        proxies.add_column(name, overflow="fold")
    for proxy in shown.proxies:
        proxies.add_row(
            escape(printable(proxy.id or "(unknown)")),
            proxy.vip,
            "+".join(proxy.bound) or "no",
            escape(printable(proxy.server or "-")),
            "yes" if proxy.active else "no",
            str(proxy.connects),
            " ".join(proxy.preference),
            proxy.admin or "-",
        )
    console.print(servers)
    console.print(proxies)
    where = f"attached at {kernel.cgroup}" if kernel.attached else "NOT attached"
    hooks = ", ".join(f"{each.hook} (program {each.id})" for each in kernel.programs)
    running = f"running, pid {controller.pid}" if controller.running else "not running"
    say(f"kernel: {where}: {hooks}; {len(shown.proxies)} of {kernel.capacity} VIPs")
    say(f"controller: {running}{_happened(controller)}")
    for line in _wrong(shown):
        say(line)


def _wrong(shown: Status) -> list[str]:
    """Return what is missing, and each proxy's problems, a line each."""
    missing = [f"missing: {line}" for line in shown.missing]
    return missing + [
        f"proxy {proxy_id}: {line}"
        for proxy_id, lines in shown.problems.items()
        for line in lines
    ]


def _happened(controller: ControllerStatus) -> str:
    events = ", ".join(f"{name} {count}" for name, count in controller.events.items())
    return f"; since its start: {events}" if events else ""


@click.command()
@for_proxy
@configured(serving=True)
def render(config: Config, proxy_id: str) -> None:
    """Print a proxy's bootstrap, as the controller writes it."""
    proxies = asyncio.run(_proxies(config))
    if not any(proxy.id == proxy_id for proxy in proxies):
        known = ", ".join(sorted(proxy.id for proxy in proxies)[:10]) or "none"
        raise ConsulEbpfError(
            f"proxy {proxy_id!r} is not among this host's proxies ({known}): "
            "add it to [[proxies]] or to a source in [workloads]"
        )
    placed = _place(config, proxies, proxy_id)
    try:
        params = asyncio.run(Parts(config).params_now(placed.proxy))
    except (ConsulEbpfError, TimeoutError) as error:
        why = str(error) or "the source of servers does not answer"
        say(f"without what Consul says of it: {why}", err=True)
        params = None
    say_json(renderer(config).render(placed, params))


async def _proxies(config: Config) -> tuple[Proxy, ...]:
    """Return the first whole answer of the configured sources."""
    try:
        async with asyncio.timeout(WORKLOADS_TIMEOUT):
            parts = Parts(config)
            source = workload_source(config, parts.kept_token, parts.https)
            async for proxies in source.watch():
                return proxies
    except TimeoutError as error:
        raise ConsulEbpfError(
            f"the sources in [workloads] did not answer within {WORKLOADS_TIMEOUT:g} s:"
            " is Consul reachable at consul.http_addresses?"
        ) from error
    return ()


def _place(config: Config, proxies: tuple[Proxy, ...], proxy_id: str) -> PlacedProxy:
    allocation = allocate(
        proxies,
        VipMemory(Path(config.bootstrap.directory)).read(),
        IPv4Network(config.kernel.vip_cidr),
        config.kernel.vip_port,
        dns.reserved(config.dns),
    )
    for placed in allocation.placed:
        if placed.proxy.id == proxy_id:
            return placed
    reasons = [why for proxy, why in allocation.refused if proxy.id == proxy_id]
    raise ConsulEbpfError("; ".join(reasons))
