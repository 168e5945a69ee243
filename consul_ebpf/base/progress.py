"""Whether work gets done: each piece of work notes its start, its steps and its end.

Waiting is not work: for a lock, for an answer from elsewhere, for a paced cut. So code
that waits notes nothing, and a piece that makes no step for a long time is stuck.
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

        Yields a function to call after each step: a long piece of work is not stuck as
        long as it makes steps.
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
        """Return the names of pieces that made no step for `limit` seconds."""
        now = self._clock()
        return sorted(name for name, last in self._all() if now - last > limit)

    def _all(self) -> list[tuple[str, float]]:
        return list(self._under_way.values())
