"""Answers that come one by one, published together."""

import asyncio
import enum
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from consul_ebpf.base.latest import Latest
from consul_ebpf.model.answers import Answers, Missing

K = TypeVar("K")
V = TypeVar("V")

TOGETHER_SECONDS = 1.0
MANY = 20_000
"""From one publishing to the next where there are so many keys; less for fewer. Each
time all are published anew, and whoever reads them goes through all of them."""

MOMENT = 0.05
"""Of that time, what an answer waits for others that come with it."""


class _Absent(enum.Enum):
    ABSENT = enum.auto()


ABSENT = _Absent.ABSENT
"""What stands for the answer of a key that was dropped, or never had one."""


class Collector(Generic[K, V]):
    """Keeps the newest answer of each key; `answers` is the cell that has them all.

    A value stays until there is another: a `Missing` does not take its place.
    """

    def __init__(self, first: Mapping[K, V | Missing] | None = None) -> None:
        """Publish `first` at once."""
        self._published: Answers[K, V] = Answers(first)
        self._news: dict[K, V | Missing | _Absent] = {}
        """What has changed since."""
        self._publishing: asyncio.TimerHandle | None = None
        self._published_at = float("-inf")
        """By the loop's clock."""
        self.answers: Latest[Answers[K, V]] = Latest()
        self.answers.set(self._published)

    def __repr__(self) -> str:
        return f"<Collector of {len(self._published)} keys>"

    def put(self, key: K, answer: V | Missing) -> None:
        """Take the newest answer of a key."""
        before = self._newest(key)
        had_value = not isinstance(before, (Missing, _Absent))
        if before == answer or (had_value and isinstance(answer, Missing)):
            return
        self._news[key] = answer
        self._publish_soon()

    def drop(self, keys: Iterable[K]) -> None:
        """Forget these keys' answers."""
        gone = [key for key in keys if self._newest(key) is not ABSENT]
        if gone:
            self._news.update(dict.fromkeys(gone, ABSENT))
            self._publish_soon()

    def has_value(self, key: K) -> bool:
        """Whether the newest answer of a key is a value."""
        return not isinstance(self._newest(key), (Missing, _Absent))

    def _newest(self, key: K) -> V | Missing | _Absent:
        if key in self._news:
            return self._news[key]
        return self._published.get(key, ABSENT)

    def _publish_soon(self) -> None:
        if self._publishing is None:
            count = len(self._published) + len(self._news)
            delay = TOGETHER_SECONDS * min(1.0, count / MANY)
            loop = asyncio.get_running_loop()
            due = max(self._published_at + delay, loop.time() + MOMENT * delay)
            self._publishing = loop.call_at(due, self._publish)

    def _publish(self) -> None:
        self._publishing = None
        self._published_at = asyncio.get_running_loop().time()
        self._published = Answers(
            {
                key: answer
                for key, answer in {**self._published, **self._news}.items()
                if not isinstance(answer, _Absent)
            }
        )
        self._news = {}
        self.answers.set(self._published)
