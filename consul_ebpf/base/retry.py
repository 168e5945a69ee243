"""How long to wait after one more failure. Pure.

For loops that also do something else; what only tries again uses tenacity.
"""

ENOUGH = 64
"""Failures after which the pause grows no more: a float has an end, too."""


def growing(failures: int, first: float, most: float, factor: float = 2.0) -> float:
    """Return `first` seconds, times `factor` for each of `failures`, up to `most`."""
    return min(most, first * factor ** min(failures, ENOUGH))
