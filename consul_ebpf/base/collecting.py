"""Answers that come one by one, published together."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from consul_ebpf.base.latest import Latest
from consul_ebpf.model.answers import Answers, Missing

K = TypeVar("K")
V = TypeVar("V")

TOGETHER_SECONDS = 1.0
MANY = 20_000
"""How long an answer waits for others where there are so many keys; less for fewer.
Each time all are published anew, and whoever reads them goes through all of them."""


class Collector(Generic[K, V]):
    """Keeps the newest answer of each key; `answers` is the cell that has them all.

    A value stays until there is another: a `Missing` does not take its place.
    """

    def __init__(self, first: Mapping[K, V | Missing] | None = None) -> None:
        """Publish `first` at once."""
        self._by_key: dict[K, V | Missing] = dict(first or {})
        self._publishing: asyncio.TimerHandle | None = None
        self.answers: Latest[Answers[K, V]] = Latest()
        self.answers.set(Answers(self._by_key))

    def __repr__(self) -> str:
        return f"<Collector of {len(self._by_key)} keys>"

    def put(self, key: K, answer: V | Missing) -> None:
        """Take the newest answer of a key."""
        if key in self._by_key:
            before = self._by_key[key]
            stays = isinstance(answer, Missing) and not isinstance(before, Missing)
            if stays or before == answer:
                return
        self._by_key[key] = answer
        self._publish_soon()

    def drop(self, keys: Iterable[K]) -> None:
        """Forget these keys' answers."""
        gone = [key for key in keys if key in self._by_key]
        for key in gone:
            del self._by_key[key]
        if gone:
            self._publish_soon()

    def has_value(self, key: K) -> bool:
        """Whether the newest answer of a key is a value."""
        return key in self._by_key and not isinstance(self._by_key[key], Missing)

    def _publish_soon(self) -> None:
        if self._publishing is None:
            delay = TOGETHER_SECONDS * min(1.0, len(self._by_key) / MANY)
            loop = asyncio.get_running_loop()
            self._publishing = loop.call_later(delay, self._publish)

    def _publish(self) -> None:
        self._publishing = None
        self.answers.set(Answers(self._by_key))
