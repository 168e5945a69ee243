"""`status`: shows servers, proxies and the controller; changes nothing."""

import sys
import time
from collections.abc import Mapping

import click
from rich.console import Console
from rich.text import Text

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.columns import tables_of
from consul_ebpf.cli.frames import happening_line
from consul_ebpf.cli.options import configured
from consul_ebpf.cli.output import say_json
from consul_ebpf.cli.tables import console, show_columns
from consul_ebpf.cli.verdicts import ailment_rows, ailments, headline, urgency
from consul_ebpf.config.schema import Config
from consul_ebpf.views.ailments import Level
from consul_ebpf.views.dns import DnsStatus
from consul_ebpf.views.picture import Pictures
from consul_ebpf.views.status import ControllerStatus, Status
from consul_ebpf.wiring.files import gatherer

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


def show(shown: Status, at: float, *, anew: bool) -> None:
    """Print the verdict, the tables, and a line each on kernel, DNS and controller.

    Args:
        shown: what is shown.
        at: when that was, in Unix time.
        anew: on a terminal, show it in place of what is there, as far as there is room.
    """
    on = console()
    if not on.is_terminal:
        _show(on, shown, at)
        return
    with on.capture() as drawn:
        _show(on, shown, at)
    lines = drawn.get().splitlines()
    room = on.height - 1  # the last line is the shell's, or says what has no room
    more = len(lines) - room
    if anew:
        on.clear()
        lines = lines[:room]
    on.out("\n".join(lines), highlight=False)
    if anew and more > 0:
        on.print(Text(f"({more} lines more: a higher terminal, or top)", "dim"), end="")
    elif more > 0:
        on.print(headline(shown.verdict))  # its first line has left the screen


def _show(on: Console, shown: Status, at: float) -> None:
    kernel, controller = shown.kernel, shown.controller
    on.print(headline(shown.verdict))
    for line in urgency(shown.verdict):
        on.print(line)
    if rows := ailment_rows(shown.verdict, at):
        on.print(ailments(rows))
    for title, columns in tables_of(shown, at):
        show_columns(on, title, columns)
    where = f"attached at {kernel.cgroup}" if kernel.attached else "NOT attached"
    hooks = ", ".join(f"{each.hook} (program {each.id})" for each in kernel.programs)
    running = f"running, pid {controller.pid}" if controller.running else "not running"
    lines = [
        f"kernel: {where}: {hooks}; {len(shown.proxies)} of {kernel.capacity} VIPs"
    ]
    if shown.dns is not None:
        lines.append(f"DNS: {_dns(shown.dns)}")
    lines += [f"controller: {running}{_happened(controller)}", *_wrong(shown)]
    if shown.timeline:
        lines.append("what happened last (all of it: --json, or consul-ebpf top):")
    for each in lines:
        on.print(Text(printable(each)))
    for happening in shown.timeline[-LAST:]:
        on.print(happening_line(happening))


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
