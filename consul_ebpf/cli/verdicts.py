"""Draws what to make of a host: for `top` and `status`."""

from collections.abc import Mapping

from rich.text import Text

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.durations import ago
from consul_ebpf.views.ailments import MEANINGS, Level, Verdict

LEVEL_STYLES: Mapping[Level, str] = {
    Level.OK: "bold green",
    Level.DEGRADED: "bold yellow",
    Level.FAILING: "bold red",
}


def headline(verdict: Verdict) -> Text:
    """Return the verdict in one line."""
    level = verdict.level
    line = Text(f"{level.value.upper()}", LEVEL_STYLES[level])
    line.append(f": {printable(verdict.summary)}", "default not bold")
    return line


def ailment_lines(verdict: Verdict, now: float, most: int | None = None) -> list[Text]:
    """Return whether it is urgent, then what is wrong and what to do.

    No line if nothing is wrong.

    Args:
        verdict: what to make of a host.
        now: Unix time.
        most: ailments that are shown; None: all.
    """
    if verdict.level is Level.OK:
        return []
    lines = [Text(f"  {MEANINGS[verdict.level]}", "bold")]
    for each in verdict.ailments[:most]:
        for_ = f" (for {ago(now, each.since)})" if each.since else ""
        lines.append(Text(f"  {printable(each.what)}{for_}", LEVEL_STYLES[each.level]))
        lines.append(Text(f"    -> {printable(each.do)}"))
    if most is not None and (more := len(verdict.ailments) - most) > 0:
        lines.append(Text(f"  and {more} more: consul-ebpf status", "dim"))
    return lines
