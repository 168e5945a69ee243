"""How long to wait after another failure. Pure.

For loops that do something else besides; a loop that only retries uses tenacity.
"""

ENOUGH = 64
"""Failures after which the pause stops growing: a larger power overflows a float."""


def growing(failures: int, first: float, most: float, factor: float = 2.0) -> float:
    """Return `first` seconds, times `factor` for each of `failures`, up to `most`."""
    return min(most, first * factor ** min(failures, ENOUGH))
