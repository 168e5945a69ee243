"""Tables of commands, on terminals of any width."""

from io import BytesIO, StringIO, TextIOWrapper

from rich.console import Console

from consul_ebpf.cli.tables import Columns, bar_of, made_of, show_columns

ROWS = [("web-1", "10.0.0.1:8502", "a b c"), ("web-22", "-", "d")]
COLUMNS = Columns(made_of(ROWS, ["proxy", "server", "more"]), 3, ("more", "server"))


def shown(width: int, columns: Columns = COLUMNS) -> list[str]:
    file = StringIO()
    show_columns(Console(file=file, width=width), "Title", columns)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_wide_terminal_has_all_columns() -> None:
    """A title, heads, and a line for each row."""
    assert shown(80) == [
        "Title",
        "proxy   server         more",
        "web-1   10.0.0.1:8502  a b c",
        "web-22  -              d",
    ]
    assert shown(80, Columns(made_of([], ["a", "b"]), 2)) == ["Title", "a  b"]


def test_a_narrow_terminal_has_fewer_and_says_which() -> None:
    """The first of the optional ones goes first; no name is ever cut."""
    assert shown(27)[1] == "proxy   server"
    assert shown(27)[-2:] == ["(a wider terminal shows:", "more)"]
    assert shown(12)[1] == "proxy"
    assert "web-22" in "".join(shown(4))


def test_texts_from_elsewhere_are_texts() -> None:
    """No code for the terminal, no markup of rich's."""
    evil = Columns(made_of([("\x1b[2J[red]x",)], ["proxy"]), 1)
    assert shown(80, evil)[-1] == "\\x1b[2J[red]x"


def test_bars_are_of_what_the_terminal_knows() -> None:
    """ASCII, if that is all."""
    with TextIOWrapper(BytesIO(), encoding="ascii") as file:
        assert "#" == bar_of(Console(file=file))
    with TextIOWrapper(BytesIO(), encoding="utf-8") as file:
        assert "█" == bar_of(Console(file=file))
