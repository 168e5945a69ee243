"""A one-slot cell: the newest value replaces the last, so nobody works off a queue."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

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
        self._changed = asyncio.Event()

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

    async def changed_since(self, version: int, patience: float | None) -> bool:
        """Wait until the value is newer than a version; False after `patience` s."""
        try:
            async with asyncio.timeout(patience):
                while self._version == version:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def set(self, value: T) -> None:
        """Replace the value and wake the readers."""
        if self._version and value == self._value:
            return
        self._value = value
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def changes(self) -> AsyncIterator[T]:
        """Yield the value there is, then each newer one, for ever."""
        seen = 0
        while True:
            while seen == self._version:
                await self._changed.wait()
            seen = self._version
            yield self._value  # type: ignore[misc]  # a version means a value was set
