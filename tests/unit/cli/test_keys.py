"""What the keys of `top` do."""

from consul_ebpf.cli.keys import (
    ORDERS,
    PAGE,
    TEXT_LENGTH,
    View,
    chosen,
    keys_in,
    press,
)
from consul_ebpf.views.status import ProxyStatus


def proxy(name: str, **more: object) -> ProxyStatus:
    known: dict[str, object] = {
        "vip": f"127.64.0.{len(name)}",
        "preference": [],
        "connects": 1,
        "server": "10.0.0.1:8502",
        "active": True,
        "bound": [],
    }
    return ProxyStatus(id=name, **{**known, **more})  # type: ignore[arg-type]


def after(*keys: str, view: View | None = None) -> View:
    view = view or View()
    for key in keys:
        view = press(view, key)
    return view


def names(view: View, *proxies: ProxyStatus) -> list[str]:
    return [each.id for each in chosen(view, list(proxies))]


def test_the_next_and_the_last_column() -> None:
    """Round, in both directions, from the first row on."""
    columns = list(ORDERS)
    assert after("down", "s") == View(sort=columns[1])
    assert after("S") == View(sort=columns[-1])
    assert after(*["s"] * len(columns)) == View()


def test_every_column_sorts_what_matters_first() -> None:
    """The names, the servers, the newest, the most, the worst."""
    a = proxy("a", server="2", since=5.0, moves=1, connects=9, failures=0)
    b = proxy("b", server="1", since=7.0, moves=2, connects=3, failures=4, active=False)
    orders = {sort: names(View(sort), a, b)[0] for sort in ORDERS}
    assert orders == {
        "proxy": "a",
        "server": "b",
        "for": "b",
        "moves": "b",
        "connects": "a",
        "failures": "b",
        "state": "b",
    }
    assert names(after("r"), a, b) == ["a", "b"]


def test_a_filter_is_typed_kept_and_cleared() -> None:
    """While it is typed, keys are text; what a row says is searched."""
    here, there = proxy("web"), proxy("api", server="10.0.0.9:8502", active=False)
    typed = after("/", "q", "backspace", "W")
    assert ("W", True) == (typed.text, typed.typing)
    assert names(typed, here, there) == ["web"]
    kept = after("enter", "s", view=typed)
    assert ("W", False) == (kept.text, kept.typing)
    assert after("escape", view=kept).text == ""
    assert after("escape", view=typed) == View()
    assert names(View(text="0.9"), here, there) == ["api"]
    assert names(View(text="not connected"), here, there) == ["api"]
    long = after("/", *["x"] * (TEXT_LENGTH + 9), "up", "\x00")
    assert "x" * TEXT_LENGTH == long.text


def test_scrolling_stops_at_the_first_row() -> None:
    """The drawing stops at the last one: it knows how many there are."""
    assert after("down", "j", "up").first == 1
    assert after("page-down", "down", "page-up", "up", "up").first == 0
    assert after("page-down").first == PAGE
    assert after("page-down", "home").first == 0


def test_pause_and_the_end() -> None:
    """Ctrl-C ends it also while somebody types."""
    assert after("p").paused
    assert not after("p", "p").paused
    assert after("q").ended
    assert after("/", "ctrl-c").ended
    assert after("x", "unknown") == View()


def test_what_terminals_send() -> None:
    """Also several keys at once; a sequence nobody knows is no text."""
    assert ["up", "down", "q"] == list(keys_in(b"\x1b[A\x1bOBq"))
    assert ["escape"] == list(keys_in(b"\x1b"))
    assert ["/", "enter", "backspace", "ctrl-c"] == list(keys_in(b"/\r\x7f\x03"))
    assert ["j"] == list(keys_in(b"j\x1b[99;5u"))
    assert ["ü"] == list(keys_in("ü".encode() + b"\xff"))
