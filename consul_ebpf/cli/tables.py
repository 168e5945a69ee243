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


Cell = str | Text
"""A text from elsewhere, made printable here; or one of ours with its style."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What a table of a command shows."""

    cells: Mapping[str, Sequence[Cell]]
    """The columns' cells, by title, in their order."""
    left: int
    """How many are aligned left."""
    optional: Sequence[str] = ()
    """Titles of those left out on a narrow terminal, the first to go first."""

    def fitting(self, width: int) -> list[str]:
        """Return the titles of the columns that are shown at a width."""
        widths = {
            title: max(map(_width, [title, *cells]))
            for title, cells in self.cells.items()
        }
        shown = list(self.cells)
        for title in self.optional:
            if sum(widths[each] + GAP for each in shown) - GAP <= width:
                break
            if title in shown:
                shown.remove(title)
        return shown

    def drawn(self, width: int, overflow: OverflowMethod) -> Table:
        """Return the table of the columns that are shown at a width.

        Args:
            width: of the terminal.
            overflow: `fold`: a cell that does not fit goes on in the next line;
                `ellipsis`: it is cut, so each row is one line.
        """
        shown = self.fitting(width)
        made = Table(box=None, pad_edge=False, header_style="underline")
        for title in shown:
            made.add_column(
                title,
                justify="left" if title in list(self.cells)[: self.left] else "right",
                no_wrap=overflow == "ellipsis",
                overflow=overflow,
            )
        for row in zip(*(self.cells[each] for each in shown), strict=True):
            made.add_row(*map(_text, row))
        return made


def _width(cell: Cell) -> int:
    return cell.cell_len if isinstance(cell, Text) else cell_len(cell)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(cell))


def show_columns(on: Console, title: str, columns: Columns) -> None:
    """Print a table with its title, and which columns had no room."""
    on.print(Text(printable(title), "bold"))
    on.print(columns.drawn(on.width, "fold"))
    shown = columns.fitting(on.width)
    if hidden := [each for each in columns.cells if each not in shown]:
        on.print(Text(f"(a wider terminal shows: {', '.join(hidden)})", "dim"))


def made_of(
    rows: Iterable[Sequence[Cell]], heads: Sequence[str]
) -> dict[str, Sequence[Cell]]:
    """Return the cells of the columns, by title, of the cells of rows."""
    cells = list(zip(*rows, strict=True)) or [()] * len(heads)
    return dict(zip(heads, cells, strict=True))
