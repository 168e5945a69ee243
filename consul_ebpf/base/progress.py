"""Whether work gets done: each piece of it notes when it begins, goes on and ends.

Waiting is no work: for a lock, for an answer from elsewhere, for a cut that is paced.
So whoever waits notes nothing, and a piece that is under way and does not go on for
long is stuck.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """The pieces of work under way. Any thread may note its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the time, in seconds, by `clock`."""
        self._clock = clock
        self._under_way: dict[object, tuple[str, float]] = {}

    def __repr__(self) -> str:
        return f"<Progress {sorted(name for name, _ in self._all())}>"

    @contextmanager
    def working(self, name: str) -> Iterator[Callable[[], None]]:
        """Note a piece of work for the length of the block.

        Yields what to call whenever a part of it is done: a long piece is not stuck
        as long as its parts get done.
        """
        piece = object()

        def step() -> None:
            self._under_way[piece] = name, self._clock()

        step()
        try:
            yield step
        finally:
            self._under_way.pop(piece, None)

    def stuck(self, limit: float) -> list[str]:
        """Return the names of pieces that have not gone on for `limit` seconds."""
        now = self._clock()
        return sorted(name for name, last in self._all() if now - last > limit)

    def _all(self) -> list[tuple[str, float]]:
        return list(self._under_way.values())
