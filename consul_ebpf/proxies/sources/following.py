"""Follows several streams of whole values at once."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Generic, TypeVar

from consul_ebpf.base.events import event
from consul_ebpf.base.tasks import keep_running
from consul_ebpf.model.errors import ConsulEbpfError

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def newest_of(
    streams: Mapping[str, Callable[[], AsyncIterator[T]]], *, patience: float = 0.0
) -> AsyncGenerator[dict[str, T], None]:
    """Yield the newest values by the streams' names, whenever one has a newer value.

    The first yield waits until all streams have a value: a table made from half of them
    would remove the other half's entries. When a stream fails or ends, that is logged,
    and it is started again after a pause. Meanwhile its newest value stays.

    Args:
        streams: functions that begin a stream, by the name to show for it. The streams
            never end.
        patience: seconds after which streams with a value stop waiting for the others;
            0: never.
    """
    following = _Following(streams, patience)
    try:
        while True:
            yield await following.next()
    finally:
        await following.close()


async def first_in_time(
    stream: AsyncGenerator[T, None], patience: float, meanwhile: Callable[[], T]
) -> AsyncGenerator[T, None]:
    """Yield a stream's values, and `meanwhile()` before the first one if that is late.

    It is late after `patience` seconds. The stream is closed at the end.
    """
    async with aclosing(stream):
        first = asyncio.ensure_future(anext(stream))
        try:
            done, _ = await asyncio.wait({first}, timeout=patience)
            if not done:
                yield meanwhile()
            yield await first
        finally:
            first.cancel()
            await asyncio.wait({first})
        async for value in stream:
            yield value


class _Following(Generic[T]):
    """A task for each stream, and the newest value of each."""

    def __init__(
        self, streams: Mapping[str, Callable[[], AsyncIterator[T]]], patience: float
    ) -> None:
        self._values: dict[str, T] = {}
        self._names = tuple(streams)
        self._changed = asyncio.Event()
        self._impatient = False
        if not streams:
            self._changed.set()
        self._tasks = [
            asyncio.create_task(
                keep_running(name, partial(self._follow, name, begin)), name=name
            )
            for name, begin in streams.items()
        ]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._changed.set())
        self._timer: asyncio.TimerHandle | None = None
        if patience:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(patience, self._go_on)

    async def _follow(self, name: str, begin: Callable[[], AsyncIterator[T]]) -> None:
        async for value in begin():
            self._values[name] = value
            self._changed.set()
        raise ConsulEbpfError(f"{name} ended; a source must go on for ever")

    def _go_on(self) -> None:
        self._impatient = True
        for name in self._names:
            if name not in self._values:
                logger.warning(
                    "%s: no answer yet; going on without",
                    name,
                    extra=event("source_failed"),
                )
        self._changed.set()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def next(self) -> dict[str, T]:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for task in self._tasks:
                if task.done():
                    await task  # raises
            complete = len(self._values) == len(self._names)
            if complete:
                self._stop_timer()
            if complete or (self._impatient and self._values):
                return {n: self._values[n] for n in self._names if n in self._values}

    async def close(self) -> None:
        self._stop_timer()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
