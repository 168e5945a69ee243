"""How long something lasts, in few characters. Pure."""

import itertools

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def span(seconds: float) -> str:
    """Return `12 s`, `3 m 12 s`, `2 h 5 m` or `4 d 1 h`."""
    left = max(0, int(seconds))
    for (unit, size), (smaller, part) in itertools.pairwise(_UNITS):
        if left >= size:
            rest = left % size // part
            return f"{left // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{left} s"


def ago(now: float, then: float) -> str:
    """Return how long ago a moment was; `-`: it is 0, so not known."""
    return span(now - then) if then else "-"
