"""One key's login: made, and made anew before its token is no good any more."""

import asyncio
import logging
import math
import random
from collections.abc import Callable

from consul_ebpf.base.events import event
from consul_ebpf.base.retry import growing
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.lifetime import UNKNOWN, Lifetime
from consul_ebpf.model.token_keys import named
from consul_ebpf.model.values import Login
from consul_ebpf.tokens.arrival import Arrival
from consul_ebpf.tokens.life import FLOOR, Learned, renew_in
from consul_ebpf.tokens.logging_in import log_in
from consul_ebpf.tokens.memory import Session
from consul_ebpf.tokens.shared import Shared

logger = logging.getLogger(__name__)

FIRST_PAUSE = 5.0
"""Seconds before a login, where the last two tokens were refused before `FLOOR`; twice
as many after each further one. The first such token is replaced at once."""

LOOK_AGAIN = 2.0
"""Seconds from the look at a token that is doubted to one more: the server that was
asked first may not have heard yet."""

LAST_PART = 0.9
"""Part of its life for which an old token is believed to be good."""


class Renewal:
    """Keeps a key logged in.

    Args:
        key: whose the token is.
        how: the login.
        shared: with the other keys.
        answer: takes each new token, or why there is none.
    """

    def __init__(
        self,
        key: str,
        how: Login,
        shared: Shared,
        answer: Callable[[str | Missing], None],
    ) -> None:
        self._key = key
        self._how = how
        self._shared = shared
        self._answer = answer
        self._doubted = asyncio.Event()
        self._again = False
        """Whether the last look was at a token that was doubted."""
        self._learned = Learned()
        self._spread = random.random()  # noqa: S311
        self._named = named(key)

    def __repr__(self) -> str:
        return f"<Renewal of {self._named}>"

    def check_token_soon(self) -> None:
        """Ask the servers soon whether they still accept the token."""
        self._doubted.set()

    async def run(self) -> None:
        """Keep it so, until cancelled, beginning with the session there is."""
        loop, clock = asyncio.get_running_loop(), self._shared.clock
        session = self._shared.sessions.current.get(self._key)
        if session is None:
            made = loop.time()
            session = await self._replace(-math.inf)
        else:
            # The only use of the wall clock; if it jumped the token is refused, or new.
            made = loop.time() - max(0.0, clock() - session.made)
            self._answer(session.secret)
            self.check_token_soon()
        died_young = 0
        while True:
            session, refused = await self._until_due(session, made)
            now, life = loop.time(), self._life(session)
            good_until = made + LAST_PART * life.seconds if life.ends else math.inf
            if refused:
                good_until = -math.inf
                died_young = died_young + 1 if now - made < FLOOR else 0
                if died_young > 1:
                    await asyncio.sleep(growing(died_young - 2, FIRST_PAUSE, FLOOR))
            else:
                self._learned.replaced()
            made = loop.time()
            session = await self._replace(good_until)

    def _life(self, session: Session) -> Lifetime:
        """Return what is known of a token's life: told, configured or learned."""
        if session.life.known:
            return session.life
        configured = Lifetime(self._how.token_ttl)
        return configured if configured.known else self._learned.lifetime()

    async def _until_due(self, session: Session, made: float) -> tuple[Session, bool]:
        """Wait until a token is to be replaced; whether because it is refused."""
        loop, good, looks = asyncio.get_running_loop(), 0.0, 0
        while True:
            left = renew_in(loop.time(), made, self._life(session), self._spread)
            limit = asyncio.timeout(left if left < math.inf else None)
            try:
                async with limit:
                    await self._until_look()
                    refused = await self._shared.acl.refused(session.secret)
                    looks += 1
                    if not refused and not looks & (looks - 1):  # 1, 2, 4, 8, ...
                        session = await self._ask_again(session)
            except TimeoutError:
                if not limit.expired():
                    raise
                return session, False
            age = loop.time() - made
            if refused:
                if not session.life.known:
                    self._learned.refused(good, age)
                logger.warning(
                    "%s: the servers refuse its ACL token; logging in again",
                    self._named,
                    extra=event("token_refused"),
                )
                return session, True
            good = age
            self._learned.outlived(age)
            await asyncio.sleep(min(left, 1.0))  # however often it is doubted

    async def _until_look(self) -> None:
        """Wait until the token is doubted, or was not looked at for long; in turn."""
        check = self._shared.check() * (0.8 + 0.4 * self._spread)
        try:
            async with asyncio.timeout(LOOK_AGAIN if self._again else check):
                await self._doubted.wait()
        except TimeoutError:
            pass
        await self._shared.pace.turn()
        self._again = self._doubted.is_set()
        self._doubted.clear()

    async def _ask_again(self, session: Session) -> Session:
        """Ask for the lifetime of a token of which nobody could tell it before."""
        if self._life(session).known:
            return session
        life = await self._shared.acl.lifetime(session.secret, self._how)
        if not life.known:
            return session
        session = session.living(life)
        await self._shared.sessions.promote(self._key, session)
        return session

    async def _replace(self, good_until: float) -> Session:
        """Log in, and put the new token in the old's place once the servers know it.

        Args:
            good_until: the loop's time for which the old token is believed to be good.
        """
        sessions, acl = self._shared.sessions, self._shared.acl
        before = sessions.current.get(self._key)
        given_up = 0
        while True:
            secret = await log_in(self._key, self._how, self._shared, self._answer)
            session = Session(self._how, secret, self._shared.clock())
            try:
                await sessions.begin(self._key, session)
                arrival = Arrival(acl, secret, good_until, given_up)
                if not await arrival.wait(self._shared.pace, self._say_waiting):
                    given_up += 1
                    continue
                life = await acl.lifetime(secret, self._how)
                if not life.known:  # its predecessor came by the same login
                    life = before.life if before else UNKNOWN
                session = session.living(life)
                await sessions.promote(self._key, session)
            finally:  # also where its proxy goes in this very moment
                await sessions.give_up(self._key)
            self._answer(secret)
            logger.info(
                "%s: logged in at auth method %s%s",
                self._named,
                self._how.auth_method,
                f"; its token lives {life}" if life.known else "",
                extra=event("logged_in"),
            )
            return session

    def _say_waiting(self, why: str) -> None:
        logger.warning("%s: %s", self._named, why)
        self._answer(Missing(why))
