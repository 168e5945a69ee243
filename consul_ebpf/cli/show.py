"""`status`: shows servers, proxies and the controller; changes nothing."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.options import configured
from consul_ebpf.cli.output import say, say_json
from consul_ebpf.config.schema import Config
from consul_ebpf.model.values import host_port
from consul_ebpf.views.pods import VolumeStatus
from consul_ebpf.views.status import (
    ControllerStatus,
    DnsServerStatus,
    DnsStatus,
    ProxyStatus,
    ServerStatus,
    Status,
    status_of,
)
from consul_ebpf.wiring.files import gatherer

T = TypeVar("T")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@configured(serving=False)
def status(config: Config, *, as_json: bool) -> None:
    """Show what the kernel holds and counted, with or without a controller."""
    shown = status_of(gatherer(config).take())
    if as_json:
        say_json(shown.to_json())
    else:
        _print(shown)


SERVER_COLUMNS: Mapping[str, Callable[[ServerStatus], str]] = {
    "server": lambda each: host_port(each.address, each.port),
    "slot": lambda each: str(each.slot),
    "state": lambda each: each.state,
    "connects": lambda each: str(each.connects),
    "active": lambda each: str(each.active),
    "failures": lambda each: str(each.failures),
}
"""The columns of the table of servers."""

DNS_COLUMNS: Mapping[str, Callable[[DnsServerStatus], str]] = {
    "server": lambda each: host_port(each.address, each.port),
    "slot": lambda each: str(each.slot),
    "state": lambda each: each.state,
    "queries": lambda each: str(each.queries),
    "unanswered": lambda each: str(each.unanswered),
}
"""The columns of the table of the servers' DNS."""

PROXY_COLUMNS: Mapping[str, Callable[[ProxyStatus], str]] = {
    "proxy": lambda each: each.id or "(unknown)",
    "VIP": lambda each: each.vip,
    "bound": lambda each: "+".join(each.bound) or "no",
    "last sent to": lambda each: each.server or "-",
    "connected": lambda each: "yes" if each.active else "no",
    "connects": lambda each: str(each.connects),
    "preference": lambda each: " ".join(each.preference),
    "admin": lambda each: each.admin or "-",
}
"""The columns of the table of proxies."""


VOLUME_COLUMNS: Mapping[str, Callable[[VolumeStatus], str]] = {
    "pod": lambda each: each.pod,
    "proxy": lambda each: each.proxy,
    "published": lambda each: "yes" if each.published else "no",
    "waits for": lambda each: "; ".join(each.problems) or "-",
}
"""The columns of the table of pods' volumes."""


def _print(shown: Status) -> None:
    """Print the tables, then a line each on the kernel, DNS and the controller."""
    kernel, controller = shown.kernel, shown.controller
    console = Console()
    console.print(_table("Consul servers", SERVER_COLUMNS, shown.servers, "right"))
    console.print(_table("Proxies", PROXY_COLUMNS, shown.proxies, "left"))
    if shown.dns is not None:
        title = f"DNS by {shown.dns.vip}"
        console.print(_table(title, DNS_COLUMNS, shown.dns.servers, "right"))
    if shown.kubernetes is not None:
        volumes = shown.kubernetes.volumes
        console.print(_table("Pods' volumes", VOLUME_COLUMNS, volumes, "left"))
    where = f"attached at {kernel.cgroup}" if kernel.attached else "NOT attached"
    hooks = ", ".join(f"{each.hook} (program {each.id})" for each in kernel.programs)
    running = f"running, pid {controller.pid}" if controller.running else "not running"
    say(f"kernel: {where}: {hooks}; {len(shown.proxies)} of {kernel.capacity} VIPs")
    if shown.dns is not None:
        say(f"DNS: {_dns(shown.dns)}")
    say(f"controller: {running}{_happened(controller)}")
    for line in _wrong(shown):
        say(line)


def _table(
    title: str,
    columns: Mapping[str, Callable[[T], str]],
    rows: Iterable[T],
    justify: Literal["left", "right"],
) -> Table:
    """Make a table; `justify` is for all columns but the first."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify=justify if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(text(row))) for text in columns.values()))
    return table


def _dns(shown: DnsStatus) -> str:
    where = "attached" if shown.attached else "NOT attached"
    return f"{where}: {shown.queries} queries, {shown.moved} led past a silent server"


def _wrong(shown: Status) -> list[str]:
    """Return a line for each missing thing, and for each problem of a proxy."""
    missing = [f"missing: {line}" for line in shown.missing]
    return missing + [
        f"proxy {proxy_id}: {line}"
        for proxy_id, lines in shown.problems.items()
        for line in lines
    ]


def _happened(controller: ControllerStatus) -> str:
    events = ", ".join(f"{name} {count}" for name, count in controller.events.items())
    return f"; since its start: {events}" if events else ""
