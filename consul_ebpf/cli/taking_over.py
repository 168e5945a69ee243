"""Waits for the controller before this one, which may not have ended yet."""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from consul_ebpf.model.errors import AlreadyRunningError

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRY_SECONDS = 0.5


async def when_free(open_: Callable[[], T], patience: float) -> T:
    """Open what another controller may hold; try again for `patience` seconds.

    Raises:
        AlreadyRunningError: it still holds it.
    """
    loop = asyncio.get_running_loop()
    deadline, said = loop.time() + patience, False
    while True:
        try:
            return open_()
        except AlreadyRunningError as error:
            if loop.time() >= deadline:
                raise
            if not said:
                said = True
                logger.info("waiting up to %g s for its end: %s", patience, error)
        await asyncio.sleep(TRY_SECONDS)
