"""Between cells and what is no cell: an iterator, a look, a function to be called."""

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import TypeVar

from consul_ebpf.base.latest import Latest
from consul_ebpf.model.errors import ConsulEbpfError

T = TypeVar("T")


async def fill_from(values: AsyncIterable[T], cell: Latest[T], *, name: str) -> None:
    """Put each value into the cell, for ever.

    Raises:
        ConsulEbpfError: the values ended; `name` says whose they were.
    """
    async for value in values:
        cell.set(value)
    raise ConsulEbpfError(f"{name} ended; it never should")


async def fill_by(
    look: Callable[[], T | None], cell: Latest[T], *, seconds: float
) -> None:
    """Look in a thread, and put what is found into the cell, every so many seconds.

    A look that returns None found nothing new.
    """
    while True:
        found = await asyncio.to_thread(look)
        if found is not None:
            cell.set(found)
        await asyncio.sleep(seconds)


async def call_for_each(cell: Latest[T], call: Callable[[T], None]) -> None:
    """Call with the value there is and with each newer one, for ever."""
    async for value in cell.changes():
        call(value)
