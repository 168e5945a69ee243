"""`top`: a live view of this host, from the kernel's tables; changes nothing."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator

import click
from rich.console import Console, RenderableType
from rich.live import Live

from consul_ebpf.cli.frames import frame
from consul_ebpf.cli.keys import ORDERS, View, keys_in, press
from consul_ebpf.cli.options import configured
from consul_ebpf.cli.tables import bar_of, console
from consul_ebpf.config.schema import Config
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.views.gatherer import Gatherer
from consul_ebpf.views.picture import Picture, Pictures
from consul_ebpf.views.snapshot import Snapshot
from consul_ebpf.wiring.files import gatherer

PAUSE_FACTOR = 1.0
"""After a look there is none for this many times as long as it took: half of a core is
the most that it takes."""


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds from one look to the next.",
)
@click.option(
    "--sort",
    type=click.Choice(list(ORDERS)),
    default="state",
    show_default=True,
    help="What proxies are sorted by.",
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option(
    "--filter", "text", default="", help="Show proxies with this text in their row."
)
@click.option(
    "--count",
    type=click.IntRange(0),
    help="End after so many frames; 0: never. Without a terminal 1, else 0.",
)
@configured(serving=False)
def top(
    config: Config,
    *,
    interval: float,
    sort: str,
    reverse: bool,
    text: str,
    count: int | None,
) -> None:
    """Watch servers, proxies and what happens, with or without a controller.

    The keys are on the last line of the screen. Without a terminal one frame is
    printed, as plain text.
    """
    view = View(sort, reverse, text)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows ASCII alone
    looks = gatherer(config)
    drawable = sys.stdin.isatty() and not Console().is_dumb_terminal
    if not (drawable and sys.stdout.isatty()):
        _print_frames(looks, view, interval, 1 if count is None else count)
        return
    with _keys_at_once(sys.stdin.fileno()):
        asyncio.run(Screen(looks, view, interval, count or 0).run())


def _print_frames(looks: Gatherer, view: View, interval: float, count: int) -> None:
    """Print plain frames; each with the rates of the interval before it."""
    on = console()
    pictures, host, printed = Pictures(), socket.gethostname(), 0
    pictures.add(looks.take())
    while not count or printed < count:
        time.sleep(interval)
        picture = pictures.add(looks.take())
        on.print(frame(picture, view, host, bar=bar_of(on)))
        printed += 1


class Screen:
    """The view on a terminal.

    Args:
        looks: takes the snapshots.
        view: what is shown at first.
        interval: seconds from one look to the next.
        count: ends after so many pictures; 0: never.
    """

    def __init__(
        self, looks: Gatherer, view: View, interval: float, count: int
    ) -> None:
        self._looks = looks
        self._view = view
        self._interval = interval
        self._count = count
        self._console = Console()
        self._pictures = Pictures()
        self._picture: Picture | None = None
        self._host = socket.gethostname()
        self._changed = asyncio.Event()
        self._trouble = ""
        """Why the kernel cannot be read now; empty: it can."""

    def __repr__(self) -> str:
        return f"<Screen {self._view!r}>"

    async def run(self) -> None:
        """Draw until somebody ends it.

        Raises:
            ConsulEbpfError: the kernel cannot be read at the beginning. Later that is
                shown, and tried again.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self._read_keys)
        loop.add_signal_handler(signal.SIGWINCH, self._changed.set)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._end)
        self._pictures.add(self._looks.take())  # an error is told before the screen is
        looking = asyncio.create_task(self._look())
        live = Live(console=self._console, screen=True, auto_refresh=False)
        try:
            with live:
                while not self._view.ended:
                    self._changed.clear()
                    if self._picture is not None:
                        live.update(self._frame(self._picture), refresh=True)
                    await self._changed.wait()
        finally:
            looking.cancel()
            await asyncio.wait([looking])

    async def _look(self) -> None:
        """Take a snapshot each interval; a costly one less often."""
        taken = 0
        while True:
            try:
                snapshot, cost = await asyncio.to_thread(self._take)
            except ConsulEbpfError as error:
                self._trouble = str(error)
                self._changed.set()
                await asyncio.sleep(self._interval)
                continue
            picture, self._trouble = self._pictures.add(snapshot), ""
            if not self._view.paused:
                self._picture = picture
                self._changed.set()
            taken += 1
            if taken == self._count:
                self._end()
            await asyncio.sleep(max(self._interval - cost, PAUSE_FACTOR * cost))

    def _take(self) -> tuple[Snapshot, float]:
        """Return a snapshot, and how many seconds it took.

        What a slow terminal takes does not count.
        """
        began = time.monotonic()
        return self._looks.take(), time.monotonic() - began

    def _frame(self, picture: Picture) -> RenderableType:
        size = self._console.size
        return frame(
            picture,
            self._view,
            self._host,
            size.height,
            width=size.width,
            bar=bar_of(self._console),
            trouble=self._trouble,
        )

    def _read_keys(self) -> None:
        data = os.read(sys.stdin.fileno(), 1024)
        if not data:  # the terminal has gone
            self._end()
        for key in keys_in(data):
            self._view = press(self._view, key)
        self._changed.set()

    def _end(self) -> None:
        self._view = press(self._view, "ctrl-c")
        self._changed.set()


@contextlib.contextmanager
def _keys_at_once(terminal: int) -> Iterator[None]:
    """Have keys without Enter and without echo, and the terminal as it was after it."""
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
