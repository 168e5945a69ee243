"""Draws what to make of a host: for `top` and `status`."""

from collections.abc import Iterable, Mapping

from rich.text import Text

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.durations import ago
from consul_ebpf.views.ailments import Ailment, Level, Verdict

LEVEL_STYLES: Mapping[Level, str] = {
    Level.OK: "bold green",
    Level.DEGRADED: "bold yellow",
    Level.FAILING: "bold red",
}


def headline(verdict: Verdict) -> Text:
    """Return the verdict in one line."""
    level = verdict.level
    line = Text(f"{level.value.upper()}", LEVEL_STYLES[level])
    return line.append(f": {printable(verdict.summary)}", "default not bold")


def ailment_lines(ailments: Iterable[Ailment], now: float) -> list[Text]:
    """Return what is wrong and what to do, two lines for each."""
    lines = []
    for each in ailments:
        for_ = f" (for {ago(now, each.since)})" if each.since else ""
        lines.append(Text(f"  {printable(each.what)}{for_}", LEVEL_STYLES[each.level]))
        lines.append(Text(f"    -> {printable(each.do)}"))
    return lines
