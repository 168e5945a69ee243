"""From how many pods on one line of measured memory is below another."""

from collections.abc import Mapping
from itertools import pairwise


def at(measured: Mapping[int, float], pods: int) -> float:
    """Return a value on the line through what was measured, drawn on at both ends."""
    if pods in measured:
        return measured[pods]
    sizes = sorted(measured)
    pairs = list(pairwise(sizes))
    low, high = next((pair for pair in pairs if pods < pair[1]), pairs[-1])
    slope = (measured[high] - measured[low]) / (high - low)
    return measured[low] + slope * (pods - low)


def break_even(ours: Mapping[int, float], theirs: Mapping[int, float]) -> int | None:
    """Return the least pods from which on ours is less; None: it is never.

    Looked for up to the largest size that either was measured at.
    """
    largest = max(*ours, *theirs)
    found = None
    for pods in range(largest, 0, -1):
        if at(ours, pods) >= at(theirs, pods):
            break
        found = pods
    return found
