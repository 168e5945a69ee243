"""Follows the files that hold tokens."""

import asyncio
import logging
from collections.abc import Callable

from consul_ebpf.base.reading import Reader
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.client.token import TokenFile
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.token_keys import named

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Between looks at a token's file."""

READERS = 2
"""Files read at a time, so that a slow file system does not take all threads."""

NO_CREDENTIALS = Missing("its credentials have neither token, token_file nor a login")


class TokenFiles:
    """Reads each file again and again; a few at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._reading = asyncio.Semaphore(READERS)

    def __repr__(self) -> str:
        return f"<TokenFiles by {self._reader!r}>"

    async def follow(
        self, key: str, path: str, answer: Callable[[str | Missing], None]
    ) -> None:
        """Call `answer` with the file's token, or why there is none, until cancelled.

        Args:
            key: whose token it is.
            path: of the file.
            answer: called after each look.
        """
        source = TokenFile(path, reader=self._reader)
        reasons = Reasons(logger, "files_failed")
        while True:
            try:
                async with self._reading:
                    secret = await asyncio.to_thread(source)
                reasons.report(())
                answer(secret or NO_CREDENTIALS)
            except ConsulError as error:
                reasons.report((f"{named(key)}: {error}",))
                answer(Missing(str(error)))
            await asyncio.sleep(LOOK_SECONDS)
