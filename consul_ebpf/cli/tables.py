"""Tables without lines, as `top` and `status` print them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, OverflowMethod
from rich.table import Table
from rich.text import Text

from consul_ebpf.base.lines import printable

PIPE_WIDTH = 1 << 20
"""Columns where there is no terminal: nothing is wrapped or cut for a program."""

GAP = 2
"""Blanks between two columns."""


def console() -> Console:
    """Return a console at standard output: for a terminal, or plain text without."""
    found = Console(highlight=False)
    if found.is_terminal:
        return found
    return Console(highlight=False, no_color=True, width=PIPE_WIDTH)


def bar_of(found: Console) -> str:
    """Return the character of bars: a terminal may know ASCII alone."""
    return "█" if "utf" in found.encoding.lower() else "#"


def table(
    heads: Sequence[str], left: int, overflow: OverflowMethod = "ellipsis"
) -> Table:
    """Make an empty table; the first `left` columns are aligned left.

    Args:
        heads: the columns' titles.
        left: how many are aligned left.
        overflow: `fold`: a cell that does not fit goes on in the next line; `ellipsis`:
            it is cut, so each row is one line.
    """
    made = Table(box=None, pad_edge=False, header_style="underline")
    for number, head in enumerate(heads):
        made.add_column(
            head,
            justify="left" if number < left else "right",
            no_wrap=overflow == "ellipsis",
            overflow=overflow,
        )
    return made


@dataclass(frozen=True, slots=True)
class Columns:
    """What a table of a command shows: texts from elsewhere, made printable here."""

    cells: Mapping[str, Sequence[str]]
    """The columns' texts, by title, in their order."""
    left: int
    """How many are aligned left."""
    optional: Sequence[str] = ()
    """Titles of those left out on a narrow terminal, the first to go first."""

    def fitting(self, width: int) -> list[str]:
        """Return the titles of the columns that are shown at a width."""
        widths = {
            title: max(map(cell_len, [title, *texts]))
            for title, texts in self.cells.items()
        }
        shown = list(self.cells)
        for title in self.optional:
            if sum(widths[each] + GAP for each in shown) - GAP <= width:
                break
            shown.remove(title)
        return shown


def show_columns(on: Console, title: str, columns: Columns) -> None:
    """Print a table with its title, and which columns had no room."""
    on.print(Text(printable(title), "bold"))
    shown = columns.fitting(on.width)
    made = table(shown, columns.left, "fold")
    for row in zip(*(columns.cells[each] for each in shown), strict=True):
        made.add_row(*(Text(printable(each)) for each in row))
    on.print(made)
    if hidden := [each for each in columns.cells if each not in shown]:
        on.print(Text(f"(a wider terminal shows: {', '.join(hidden)})", "dim"))


def made_of(
    rows: Iterable[Sequence[str]], heads: Sequence[str]
) -> dict[str, Sequence[str]]:
    """Return the texts of the columns, by title, of the texts of rows."""
    cells = list(zip(*rows, strict=True)) or [()] * len(heads)
    return dict(zip(heads, cells, strict=True))
