"""One key's login: made, and made anew before its token is no good any more."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from consul_ebpf.base.events import event
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.timing import timed
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.seams import Acl
from consul_ebpf.model.values import Login
from consul_ebpf.tokens.keys import named
from consul_ebpf.tokens.life import renew_in
from consul_ebpf.tokens.memory import Session
from consul_ebpf.tokens.sessions import Sessions

logger = logging.getLogger(__name__)

CHECK = 60.0
"""Seconds between looks whether the servers still accept a login's token; a proxy that
connects anew is a reason to look at once."""

UNKNOWN_CHECK = 5.0
"""The same where it is not known how long a token lives."""

SETTLE = 5.0
"""Seconds that the servers have to learn of a new token before it is used anyway."""


class Renewal:
    """Keeps a key logged in.

    Args:
        key: whose the token is.
        how: the login.
        acl: Consul.
        sessions: where its session is kept.
        take: called with a new token, or with "" and why there is none.
        clock: Unix time.
    """

    def __init__(  # noqa: PLR0917  # told by position where there is one caller
        self,
        key: str,
        how: Login,
        acl: Acl,
        sessions: Sessions,
        take: Callable[[str, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._key = key
        self._how = how
        self._acl = acl
        self._sessions = sessions
        self._take = take
        self._clock = clock
        self._doubted = asyncio.Event()
        self._named = named(key)

    def __repr__(self) -> str:
        return f"<Renewal of {self._named}>"

    def doubt(self) -> None:
        """Look soon whether the token is still accepted."""
        self._doubted.set()

    async def run(self) -> None:
        """Keep it so, until cancelled, beginning with the session there is."""
        spread = random.random()  # noqa: S311
        learned = self._how.token_ttl or None
        loop = asyncio.get_running_loop()
        session = self._sessions.current.get(self._key)
        made = loop.time()
        if session is not None:
            # The only use of the wall clock; if it jumped the token is refused, or new.
            made -= max(0.0, self._clock() - session.made)
            self._take(session.secret, "")
            self.doubt()
        while True:
            if session is None:
                made = loop.time()
                session = await self._log_in()
            lifetime = session.lifetime or learned
            refused = await self._until_due(session.secret, made, lifetime, spread)
            if refused and not lifetime:
                learned = loop.time() - made
            session = None

    async def _until_due(
        self, secret: str, made: float, lifetime: float | None, spread: float
    ) -> bool:
        """Wait until a token is to be replaced; whether because it is refused."""
        loop = asyncio.get_running_loop()
        check = CHECK * (0.8 + 0.4 * spread) if lifetime else UNKNOWN_CHECK
        while True:
            left = renew_in(loop.time(), made, lifetime, spread)
            try:
                async with asyncio.timeout(min(left, check)):
                    await self._doubted.wait()
            except TimeoutError:
                if left <= check:
                    return False
            self._doubted.clear()
            if await self._acl.refused(secret):
                logger.warning(
                    "%s: the servers refuse its ACL token; logging in again",
                    self._named,
                    extra=event("token_refused"),
                )
                return True
            await asyncio.sleep(min(left, 1.0))  # however often it is doubted

    async def _log_in(self) -> Session:
        """Log in, for as long as it takes, and put the new token in the old's place."""
        reasons = Reasons(logger, "login_failed")
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(ConsulError),
            wait=wait_random_exponential(multiplier=0.5, min=0.5, max=15),
            sleep=asyncio.sleep,
        ):
            with attempt:
                try:
                    with timed("login"):
                        secret = await self._acl.login(self._how)
                except ConsulError as error:
                    why = f"login at auth method {self._how.auth_method}: {error}"
                    reasons.report((f"{self._named}: {why}; trying again",))
                    self._take("", why)
                    raise
        before = self._sessions.current.get(self._key)
        session = Session(
            self._how, secret, self._clock(), before.lifetime if before else None
        )
        try:
            await self._sessions.keep(self._key, session, before)
            await self._until_accepted(secret)
            if lifetime := await self._acl.lifetime(secret, self._how):
                session = replace(session, lifetime=lifetime)
                await self._sessions.keep(self._key, session, before)
            self._take(secret, "")
        finally:  # also where its proxy goes in this very moment
            self._sessions.release(self._key)
        lives = f", for {session.lifetime:.0f} s" if session.lifetime else ""
        logger.info(
            "%s: logged in at auth method %s%s",
            self._named,
            self._how.auth_method,
            lives,
            extra=event("logged_in"),
        )
        return session

    async def _until_accepted(self, secret: str) -> None:
        """Wait for the servers that lag behind the leader: one would refuse it."""
        deadline = asyncio.get_running_loop().time() + SETTLE
        await asyncio.sleep(0.1)
        while asyncio.get_running_loop().time() < deadline:
            if await self._acl.accepted(secret):
                return
            await asyncio.sleep(0.1)
