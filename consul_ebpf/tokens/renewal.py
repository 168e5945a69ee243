"""One key's login: made, and made again before its token stops working."""

import asyncio
import logging
import math
import random
from collections.abc import Callable

from consul_ebpf.base.events import event
from consul_ebpf.base.retry import growing
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.lifetime import UNKNOWN, Lifetime
from consul_ebpf.model.token_keys import HOST, named
from consul_ebpf.model.values import Login
from consul_ebpf.tokens.arrival import arrives
from consul_ebpf.tokens.life import SHORTEST_LEARNED_SECONDS, LearnedLife, renew_in
from consul_ebpf.tokens.login import Shared, log_in
from consul_ebpf.tokens.memory import Session
from consul_ebpf.tokens.pace import SELDOM_SECONDS

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 5.0
"""Before a login, if the last two tokens were refused within a minute of being made;
twice as long after each further one. The first such token is replaced at once."""

SECOND_CHECK_SECONDS = 2.0
"""From a check that somebody asked for to one more: the server that was asked first may
not have heard yet that the token is gone."""

TRUSTED_PART = 0.9
"""Part of its life for which an old token is expected to work."""


class Renewal:
    """Keeps one key logged in.

    Args:
        key: whose the token is.
        how: the login.
        shared: what it shares with the other keys.
        answer: called with each new token's secret, or with why there is none.
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
        self._check_soon = asyncio.Event()
        self._check_twice = False
        """Whether the last check was one that somebody asked for."""
        self._learned = LearnedLife()
        self._made = -math.inf
        """The loop's time when the token was made."""
        self._spread = random.random()  # noqa: S311
        self._named = named(key)

    def __repr__(self) -> str:
        return f"<Renewal of {self._named}>"

    def check_token_soon(self) -> None:
        """Ask the servers soon whether they still accept the token."""
        self._check_soon.set()

    async def run(self) -> None:
        """Keep it logged in, until cancelled. An earlier process's session goes on."""
        loop, clock = asyncio.get_running_loop(), self._shared.clock
        session = self._shared.sessions.current.get(self._key)
        if session is None:
            session = await self._replace(-math.inf)
        else:
            # The wall clock is used only here. If it jumped, the token counts as new
            # and is checked, or counts as old and is replaced.
            self._made = loop.time() - max(0.0, clock() - session.made)
            self._answer(session.secret)
            self.check_token_soon()
        died_young = 0
        while True:
            session, refused = await self._until_due(session)
            age, life = loop.time() - self._made, self._life(session)
            good_until = math.inf
            if refused:
                good_until = -math.inf
                died_young = died_young + 1 if age < SHORTEST_LEARNED_SECONDS else 0
                if died_young > 1:
                    await asyncio.sleep(
                        growing(
                            died_young - 2,
                            FIRST_PAUSE_SECONDS,
                            SHORTEST_LEARNED_SECONDS,
                        )
                    )
            else:
                self._learned.note_replacement()
                if life.ends:
                    good_until = self._made + TRUSTED_PART * life.seconds
            session = await self._replace(good_until)

    def _life(self, session: Session) -> Lifetime:
        """Return a token's lifetime: told by Consul, configured, or learned."""
        configured = Lifetime(self._how.token_ttl)
        told = session.life if session.life.known else configured
        return told if told.known else self._learned.lifetime

    async def _until_due(self, session: Session) -> tuple[Session, bool]:
        """Check a token until it is to be replaced; say whether it was refused."""
        loop, good, checks = asyncio.get_running_loop(), 0.0, 0
        while True:
            left = renew_in(loop.time(), self._made, self._life(session), self._spread)
            limit = asyncio.timeout(left if left < math.inf else None)
            try:
                async with limit:
                    await self._wait_for_check(self._check_seconds(session))
                    refused = await self._shared.acl.refused(session.secret)
                    checks += 1
                    if not refused and not checks & (checks - 1):  # 1, 2, 4, 8, ...
                        session = await self._ask_for_life(session)
            except TimeoutError:
                if not limit.expired():
                    raise
                return session, False
            age = loop.time() - self._made
            if refused and self._shared.logins.has_ended(self._key):
                return session, True  # it was deleted on purpose, and waits now
            if refused:
                if not session.life.known:
                    self._learned.note_refusal(good, age)
                logger.warning(
                    "%s: the servers refuse its ACL token; logging in again",
                    self._named,
                    extra=event("token_refused"),
                )
                return session, True
            good = age
            self._learned.note_acceptance(age)
            await asyncio.sleep(min(left, 1.0))  # however often a check is asked for

    def _check_seconds(self, session: Session) -> float:
        """Return the seconds from one check to the next that nobody asked for."""
        seconds = self._shared.check_seconds()
        if self._key != HOST and self._life(session).known:
            seconds = max(seconds, SELDOM_SECONDS)
        return seconds * (0.8 + 0.4 * self._spread)

    async def _wait_for_check(self, pause: float) -> None:
        """Wait until a check is due or asked for, and then for a turn."""
        try:
            async with asyncio.timeout(
                SECOND_CHECK_SECONDS if self._check_twice else pause
            ):
                await self._check_soon.wait()
        except TimeoutError:
            pass
        await self._shared.checks.wait_for_turn()
        self._check_twice = self._check_soon.is_set()
        self._check_soon.clear()

    async def _ask_for_life(self, session: Session) -> Session:
        """Ask again how long a token lives, if nobody could say so far."""
        if self._life(session).known:
            return session
        life = await self._shared.acl.lifetime(session.secret, self._how)
        if not life.known:
            return session
        session = session.living(life)
        await self._shared.sessions.promote(self._key, session)
        return session

    async def _replace(self, old_good_until: float) -> Session:
        """Log in, and use the new token once the servers know it.

        Args:
            old_good_until: the loop's time until which the old token should work.
        """
        sessions, acl = self._shared.sessions, self._shared.acl
        before = sessions.current.get(self._key)
        given_up = 0
        while True:
            secret = await log_in(self._key, self._how, self._shared, self._answer)
            made = asyncio.get_running_loop().time()
            session = Session(self._how, secret, self._shared.clock())
            try:
                await sessions.begin(self._key, session)
                if not await arrives(
                    acl,
                    secret,
                    self._shared.arrivals,
                    old_good_until=old_good_until,
                    given_up=given_up,
                    say=self._say_waiting,
                ):
                    given_up += 1
                    continue
                life = await acl.lifetime(secret, self._how)
                if not life.known:  # its predecessor came by the same login
                    life = before.life if before else UNKNOWN
                session = session.living(life)
                await sessions.promote(self._key, session)
            finally:  # also if the proxy goes at this very moment
                await sessions.give_up(self._key)
            self._made = made
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
