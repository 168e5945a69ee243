"""Carries out a host's logins: few at a time, each to its end.

An auth method answers a few logins a second, whatever the number of hosts. A login
that is cut off may still make a token. So none is cut off here: if nobody wants the
token any more, it is waited for and logged out.
"""

import asyncio
import logging
from collections.abc import Callable

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.timing import timed
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.seams import Acl
from consul_ebpf.model.token_keys import HOST, named
from consul_ebpf.model.values import Login
from consul_ebpf.tokens.memory import Session
from consul_ebpf.tokens.sessions import Sessions

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Logins of proxies under way at the same time. The host's own never waits for them."""

FINISH_SECONDS = 8.0
"""At the controller's end, for the logins that are still under way."""


class Logins:
    """Lets logins through in the order in which they were asked for.

    Args:
        acl: logs in.
        sessions: gets the tokens that nobody wants any more.
        clock: returns Unix time.
    """

    def __init__(
        self, acl: Acl, sessions: Sessions, clock: Callable[[], float]
    ) -> None:
        self._acl = acl
        self._sessions = sessions
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._unwanted: set[asyncio.Task[None]] = set()
        self._ended: Latest[frozenset[str]] = Latest()
        self.failing: set[str] = set()
        """The keys whose login failed last, and is tried again."""
        self.queued = 0
        """How many logins wait for their turn."""

    def __repr__(self) -> str:
        return f"<Logins {self.queued} queued, {len(self._unwanted)} unwanted>"

    def set_ended(self, keys: frozenset[str]) -> None:
        """Name the proxies that have ended; they do not log in."""
        self._ended.set(keys)

    def has_ended(self, key: str) -> bool:
        """Whether a proxy has ended."""
        return key in (self._ended.value or ())

    async def log_in(self, key: str, how: Login) -> str:
        """Log in once it is this login's turn; return the new token's secret.

        One whose proxy has ended waits until it is there again. If cancelled, the login
        goes on beside those whose turn it is, and its token is logged out.

        Raises:
            ConsulError: as `Acl.login`.
        """
        if key == HOST:
            return await self._log_in(key, how)
        await self._wait_for_turn(key)
        try:
            return await self._log_in(key, how)
        finally:
            self._turns.release()

    async def _log_in(self, key: str, how: Login) -> str:
        login = asyncio.create_task(self._ask(how), name=f"login of {named(key)}")
        try:
            return await asyncio.shield(login)
        except asyncio.CancelledError:
            unwanted = asyncio.create_task(self._give_up(key, how, login))
            self._unwanted.add(unwanted)
            unwanted.add_done_callback(self._unwanted.discard)
            raise

    async def finish(self) -> None:
        """Wait for the logins whose tokens nobody wants, for `FINISH_SECONDS`."""
        if not self._unwanted:
            return
        _, left = await asyncio.wait(self._unwanted, timeout=FINISH_SECONDS)
        if left:
            logger.warning(
                "%d logins did not end within %g s: tokens that they still make are not"
                " logged out",
                len(left),
                FINISH_SECONDS,
            )
        for task in left:
            task.cancel()

    async def _ask(self, how: Login) -> str:
        with timed("login"):  # without the time in the queue
            return await self._acl.login(how)

    async def _wait_for_turn(self, key: str) -> None:
        while True:
            await self._until_there(key)
            self.queued += 1
            try:
                await self._turns.acquire()
            finally:
                self.queued -= 1
            if not self.has_ended(key):
                return
            self._turns.release()

    async def _until_there(self, key: str) -> None:
        """Wait while a proxy has ended."""
        if not self.has_ended(key):
            return
        logger.info("%s: its pod ends: it gets no new ACL token", named(key))
        async for ended in self._ended.changes():
            if key not in ended:
                return

    async def _give_up(self, key: str, how: Login, login: asyncio.Task[str]) -> None:
        """Have the token that a login makes logged out."""
        try:
            secret = await login
        except ConsulError:
            return
        await self._sessions.reject(key, Session(how, secret, self._clock()))
