"""`status`: shows servers, proxies and the controller; changes nothing."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.frames import happening_line
from consul_ebpf.cli.options import configured
from consul_ebpf.cli.output import say, say_json
from consul_ebpf.cli.verdicts import ailment_lines, headline
from consul_ebpf.config.schema import Config
from consul_ebpf.model.values import host_port
from consul_ebpf.views.ailments import Level
from consul_ebpf.views.dns import DnsServerStatus, DnsStatus
from consul_ebpf.views.picture import Pictures
from consul_ebpf.views.pods import VolumeStatus
from consul_ebpf.views.servers import ServerStatus
from consul_ebpf.views.status import (
    ControllerStatus,
    ProxyStatus,
    Status,
)
from consul_ebpf.wiring.files import gatherer

T = TypeVar("T")


LEVEL_CODES: Mapping[Level, int] = {
    Level.OK: 0,
    Level.DEGRADED: 5,
    Level.FAILING: 6,
}
"""Exit codes of `--exit-code`; other than those of errors."""

WATCH_SECONDS = 2.0

LAST = 5
"""Happenings that are shown."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option(
    "--watch",
    type=click.FloatRange(0.1, 3600),
    is_flag=False,
    flag_value=WATCH_SECONDS,
    metavar="[SECONDS]",
    help=f"Show it again and again, every {WATCH_SECONDS:g} seconds or as often as you"
    " say; with --json one line each time.",
)
@click.option(
    "--exit-code",
    is_flag=True,
    help="End with 5 if the host is degraded, with 6 if it is failing.",
)
@configured(serving=False)
def status(
    config: Config, *, as_json: bool, watch: float | None, exit_code: bool
) -> None:
    """Show how this host is, what the kernel holds and counted.

    With or without a controller. The first lines say what is wrong and what to do.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows ASCII alone
    looks, pictures = gatherer(config), Pictures()
    while True:
        snapshot = looks.take()
        shown = pictures.add(snapshot).status
        if as_json:
            say_json(shown.to_json(), indented=watch is None)
        else:
            show(shown, snapshot.at, anew=watch is not None)
        if watch is None:
            break
        time.sleep(watch)
    if exit_code:
        sys.exit(LEVEL_CODES[shown.verdict.level])


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


def show(shown: Status, at: float, *, anew: bool) -> None:
    """Print the verdict, the tables, and a line each on kernel, DNS and controller.

    Args:
        shown: what is shown.
        at: when that was, in Unix time.
        anew: on a terminal, clear the screen before.
    """
    kernel, controller = shown.kernel, shown.controller
    console = Console(highlight=False)
    if anew and console.is_terminal:
        console.clear()
    console.print(headline(shown.verdict), soft_wrap=True)
    for ailment in ailment_lines(shown.verdict.ailments, at):
        console.print(ailment, soft_wrap=True)
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
    if shown.timeline:
        say("what happened last (all of it: --json, or consul-ebpf top):")
    for happening in shown.timeline[-LAST:]:
        console.print(happening_line(happening), soft_wrap=True)


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
