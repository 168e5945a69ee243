"""Those who follow a pool, and the task that runs while there are any."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from consul_ebpf.base.latest import Latest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing subscribers see."""

    error: BaseException | None


class Subscribers(Generic[T]):
    """Runs a task while somebody is inside `async with`, or iterates `values`.

    Args:
        name: of the task.
        run: makes what it does; that publishes values until it is cancelled.
    """

    def __init__(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._name = name
        self._run = run
        self._cell: Latest[T | _End] = Latest()
        self._count = 0
        self._runner: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Subscribers {self._count} of the {self._name}>"

    @property
    def running(self) -> bool:
        """Whether the task runs."""
        return self._runner is not None

    @property
    def newest(self) -> T | None:
        """The newest value of this run; None: none was published."""
        value = self._cell.value
        return None if isinstance(value, _End) else value

    def publish(self, value: T) -> None:
        """Give a value to all subscribers."""
        self._cell.set(value)

    async def __aenter__(self) -> Self:
        """Start the task, unless it runs."""
        while self._ending is not None and not self._ending.done():
            await asyncio.wait([self._ending])
        self._count += 1
        if self._runner is None:
            self._cell = Latest()
            self._runner = asyncio.create_task(self._work(), name=self._name)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel the task with the last; raise its error, if nothing else is raised."""
        self._count -= 1
        runner = self._runner
        if self._count or runner is None:
            return
        self._runner, self._ending = None, runner
        runner.cancel()
        await asyncio.wait([runner])
        failure = None if runner.cancelled() else runner.exception()
        if failure is not None and error is None:
            raise failure

    async def values(self) -> AsyncGenerator[T, None]:
        """Yield the value there is, then each newer one, while the task runs."""
        async with self:
            async for value in self._cell.changes():
                if not isinstance(value, _End):
                    yield value
                elif value.error is not None:
                    raise value.error
                else:
                    return

    async def _work(self) -> None:
        error: BaseException | None = None
        try:
            await self._run()
        except asyncio.CancelledError:
            raise
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._cell.set(_End(error))
