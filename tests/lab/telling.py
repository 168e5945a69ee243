"""How a demonstration is told: in acts, and with nothing left at its end."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from types import FrameType

from rich.console import Console
from rich.table import Table

from tests.lab.go_build import PartMissingError
from tests.lab.leftovers import Traces, adopt_orphans, sweep
from tests.lab.processes import LabError

console = Console(highlight=False)

FAILURES = (LabError, PartMissingError, OSError, subprocess.SubprocessError)


def play(story: Callable[[], None]) -> int:
    """Tell a story and clean up; 0 if all of it happened."""
    _end_in_order_when_told()
    adopt_orphans()
    sweep()
    before = Traces.now()
    code = 1
    try:
        story()
        code = 0
    except FAILURES as error:
        say(f"[bold red]This did not happen:[/] {error}")
    except KeyboardInterrupt:
        say("[yellow]Stopped.[/]")
        code = 130
    if left := before.left_since():
        say(f"[bold red]Left behind:[/] {'; '.join(left)}")
        return code or 1
    say("Everything was removed again.")
    if code == 0:
        say("[bold green]All of it happened.[/]")
    return code


def act(title: str) -> None:
    """Begin a new part of the story."""
    console.print(f"\n[bold cyan]{title}[/]")


def say(text: str) -> None:
    """Tell one thing."""
    console.print(text, soft_wrap=True)


def show(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Show a small table."""
    table = Table(*columns, box=None, padding=(0, 3, 0, 0), header_style="dim")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def since(started: float) -> str:
    """Say how long ago that was."""
    return f"{time.monotonic() - started:.1f} s"


def _end_in_order_when_told() -> None:
    """Make SIGINT and SIGTERM end the story once; the clean-up is left alone."""

    def stop(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
