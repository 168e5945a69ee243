"""What the keys of `top` do: to which rows are shown, and in which order. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from consul_ebpf.views.status import ProxyStatus

Order = Callable[[ProxyStatus], tuple[object, ...]]

ORDERS: Mapping[str, Order] = {
    "state": lambda each: (each.active, not each.connects, each.id),
    "proxy": lambda each: (each.id or "~", each.vip),
    "server": lambda each: (each.server, each.id),
    "for": lambda each: (-each.since, each.id),
    "moves": lambda each: (-each.moves, each.id),
    "connects": lambda each: (-each.connects, each.id),
    "failures": lambda each: (-each.failures, each.id),
}
"""The columns that proxies can be sorted by; numbers begin with the largest, states
with the worst."""

PAGE = 10
"""Rows that a page key goes on or back."""

HELP = "q quit  s S sort  r reverse  / filter  Esc all  j k PgUp PgDn scroll  p pause"

TEXT_LENGTH = 100
"""Characters that a filter can have."""


@dataclass(frozen=True, slots=True)
class View:
    """What somebody chose to see."""

    sort: str = "state"
    """One of `ORDERS`."""
    reverse: bool = False
    text: str = ""
    """Only proxies with this in their name, VIP, server or state are shown."""
    typing: bool = False
    """Whether keys go to `text`."""
    first: int = 0
    """The first row shown."""
    paused: bool = False
    ended: bool = False


def press(view: View, key: str) -> View:
    """Return the view after a key: a character, or a name such as `up`."""
    if key == "ctrl-c":
        return replace(view, ended=True)
    if view.typing:
        return _type(view, key)
    if key in ACTIONS:
        return ACTIONS[key](view)
    return replace(view, first=max(0, view.first + SCROLLS.get(key, 0)))


def _sort_by(view: View, step: int) -> View:
    names = list(ORDERS)
    at = (names.index(view.sort) + step) % len(names)
    return replace(view, sort=names[at], first=0)


ACTIONS: Mapping[str, Callable[[View], View]] = {
    "q": lambda view: replace(view, ended=True),
    "s": lambda view: _sort_by(view, 1),
    "S": lambda view: _sort_by(view, -1),
    "r": lambda view: replace(view, reverse=not view.reverse, first=0),
    "/": lambda view: replace(view, typing=True),
    "escape": lambda view: replace(view, text="", first=0),
    "p": lambda view: replace(view, paused=not view.paused),
    "home": lambda view: replace(view, first=0),
}
"""What each key does, but for those that scroll."""

SCROLLS: Mapping[str, int] = {
    "up": -1,
    "k": -1,
    "down": 1,
    "j": 1,
    "page-up": -PAGE,
    "page-down": PAGE,
}
"""How many rows each key goes on."""


def _type(view: View, key: str) -> View:
    match key:
        case "enter":
            return replace(view, typing=False)
        case "escape":
            return replace(view, typing=False, text="", first=0)
        case "backspace":
            return replace(view, text=view.text[:-1], first=0)
    if len(key) == 1 and key.isprintable() and len(view.text) < TEXT_LENGTH:
        return replace(view, text=view.text + key, first=0)
    return view


def chosen(view: View, proxies: list[ProxyStatus]) -> list[ProxyStatus]:
    """Return the proxies that a view shows, in its order."""
    text = view.text.lower()
    found = [each for each in proxies if text in _searched(each)]
    found.sort(key=ORDERS[view.sort], reverse=view.reverse)
    return found


def _searched(proxy: ProxyStatus) -> str:
    words = (proxy.id, proxy.vip, proxy.server, state_of(proxy))
    return " ".join(words).lower()


def state_of(proxy: ProxyStatus) -> str:
    """Return whether a proxy is connected, in words."""
    if proxy.active:
        return "connected"
    return "not connected" if proxy.connects else "never connected"


ESCAPES: Mapping[str, str] = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page-up",
    "\x1b[6~": "page-down",
    "\x1b[H": "home",
    "\x1b[1~": "home",
    "\x1bOH": "home",
}
"""What terminals send for keys without a character."""

CONTROLS: Mapping[str, str] = {
    "\x03": "ctrl-c",
    "\x04": "ctrl-c",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x1b": "escape",
}


def keys_in(data: bytes) -> Iterator[str]:
    """Yield the keys that a terminal sent at once."""
    text = data.decode("utf-8", "ignore")
    while text:
        known = next((each for each in ESCAPES if text.startswith(each)), "")
        if known:
            yield ESCAPES[known]
        elif text.startswith(("\x1b[", "\x1bO")):
            return  # a key of which nothing is known, and what came with it
        else:
            yield CONTROLS.get(text[0], text[0])
        text = text[len(known) or 1 :]
