"""Draws what to make of a host: for `top` and `status`."""

from collections.abc import Iterable, Mapping

from rich.table import Table
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


def urgency(verdict: Verdict) -> list[Text]:
    """Return a line on whether anybody must do anything; none if all is well."""
    if verdict.level is Level.OK:
        return []
    return [Text(f"  {MEANINGS[verdict.level]}", "bold")]


LABEL_WIDTH = 2 + max(len(each.value) for each in Level) + 1
"""Columns before what is wrong: there stands how bad it is."""


def ailment_rows(
    verdict: Verdict, now: float, most: int | None = None, *, briefly: bool = False
) -> list[tuple[Text, Text]]:
    """Return what is wrong, what it means and what to do: each a label and a text.

    Args:
        verdict: what to make of a host.
        now: Unix time.
        most: ailments that are shown; None: all.
        briefly: without what it means.
    """
    rows: list[tuple[Text, Text]] = []
    for each in verdict.ailments[:most]:
        for_ = f" (for {ago(now, each.since)})" if each.since else ""
        style = LEVEL_STYLES[each.level]
        what = Text(f"{printable(each.what)}{for_}", style)
        rows.append((Text(f"  {each.level.value}", style), what))
        if each.means and not briefly:
            rows.append((Text(), Text(printable(each.means))))
        rows.append((Text("->", justify="right"), Text(printable(each.do))))
    if most is not None and (more := len(verdict.ailments) - most) > 0:
        rows.append((Text(), Text(f"and {more} more: consul-ebpf status", "dim")))
    return rows


def ailments(rows: Iterable[tuple[Text, Text]]) -> Table:
    """Return the rows drawn: a text that is too long goes on below itself."""
    drawn = Table.grid(padding=(0, 1, 0, 0))
    drawn.add_column(width=LABEL_WIDTH - 1, no_wrap=True)
    drawn.add_column(overflow="fold")
    for label, text in rows:
        drawn.add_row(label, text)
    return drawn
