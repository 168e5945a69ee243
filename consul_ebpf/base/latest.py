"""A one-slot cell: the newest value replaces the last, so nobody works off a queue."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """The newest value of something that changes; any number of readers.

    A reader that is slow misses the values in between and sees the newest. Values
    equal to the one held wake nobody.
    """

    def __init__(self) -> None:
        """Start without a value."""
        self._value: T | None = None
        self._version = 0
        self._waiting: set[asyncio.Event] = set()

    def __repr__(self) -> str:
        """Show how often the value changed, and the value."""
        return f"<Latest {self._version} changes: {self._value!r}>"

    @property
    def value(self) -> T | None:
        """The newest value, None before the first."""
        return self._value

    @property
    def version(self) -> int:
        """How often the value has changed."""
        return self._version

    def set(self, value: T) -> None:
        """Replace the value and wake the readers."""
        if self._version and value == self._value:
            return
        self._value = value
        self._version += 1
        for news in self._waiting:
            news.set()

    @contextmanager
    def waking(self, news: asyncio.Event) -> Iterator[None]:
        """Have an event set at each change, for the length of the block."""
        self._waiting.add(news)
        try:
            yield
        finally:
            self._waiting.discard(news)

    async def changed_since(self, version: int, patience: float | None) -> bool:
        """Wait until the value is newer than a version; False after `patience` s."""
        changes = Changes(self)
        changes.seen = (version,)
        return await changes.wait(patience)

    async def changes(self) -> AsyncIterator[T]:
        """Yield the value there is, then each newer one, for ever."""
        changes = Changes(self)
        while True:
            await changes.wait()
            yield self._value  # type: ignore[misc]  # a version means a value was set


class Changes:
    """For a reader of one cell or of several: waits until any has another value."""

    def __init__(self, *cells: Latest[Any]) -> None:
        """Count the values that are there now as not seen yet."""
        self._cells = cells
        self.seen = (0,) * len(cells)
        """The cells' versions at the last change."""

    def __repr__(self) -> str:
        """Show the cells."""
        return f"<Changes of {self._cells}>"

    async def wait(self, patience: float | None = None) -> bool:
        """Wait for a value that was not there the last time; False after `patience` s.

        Changes that came in between are one.
        """
        news = asyncio.Event()
        with ExitStack() as stack:
            for cell in self._cells:
                stack.enter_context(cell.waking(news))
            try:
                async with asyncio.timeout(patience):
                    while (now := self._versions()) == self.seen:
                        news.clear()
                        await news.wait()
            except TimeoutError:
                return False
        self.seen = now
        return True

    def _versions(self) -> tuple[int, ...]:
        return tuple(cell.version for cell in self._cells)
