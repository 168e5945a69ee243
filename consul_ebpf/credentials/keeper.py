"""`TokenKeeper`: every proxy's ACL token, and the host's own, always a good one.

Consul's logins make tokens that expire. Each is replaced in time, or once the servers
refuse it; the old one is not touched until `log_out` is told that nobody uses it.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from consul_ebpf._errors import ConsulError, TokenPendingError
from consul_ebpf._events import event
from consul_ebpf._latest import Latest
from consul_ebpf._observations import timed
from consul_ebpf._protocols import Acl
from consul_ebpf._values import Credentials, Login, Proxy
from consul_ebpf.credentials.life import renew_in
from consul_ebpf.credentials.memory import Retired, Session, TokenMemory, same_login
from consul_ebpf.discovery.reasons import Reasons
from consul_ebpf.discovery.token import StaticToken, TokenFile, TokenSource

logger = logging.getLogger(__name__)

HOST = ""
"""The key of `[consul.credentials]`: the controller's token, and that of all proxies
that have none of their own."""

CHECK = 60.0
"""Seconds between looks whether the servers still accept a login's token; a proxy that
connects anew is a reason to look at once."""

UNKNOWN_CHECK = 5.0
"""The same where it is not known how long a token lives."""

FILE_CHECK = 2.0
"""Seconds between looks at a token's file."""

SETTLE = 5.0
"""Seconds that the servers have to learn of a new token before it is used anyway."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Every key's token, and why those that have none do not."""

    needed: frozenset[str] = frozenset()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    waiting: Mapping[str, str] = field(default_factory=dict)


def key_of(proxy: Proxy) -> str:
    """Return the key of a proxy's token."""
    return proxy.id if proxy.credentials is not None else HOST


class TokenKeeper:
    """Keeps a token for each key; `tokens` has the newest of all.

    Args:
        acl: Consul.
        memory: outlives this process.
        default: the whole host's; None: the servers ask for no token.
        clock: Unix time.
    """

    def __init__(
        self,
        acl: Acl,
        memory: TokenMemory,
        default: Credentials | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._acl = acl
        self._memory = memory
        self._clock = clock
        self._wanted: dict[str, Credentials] = {HOST: default} if default else {}
        self._told = False
        """Whether the proxies are known: until then none of them is gone."""
        self._wanted_changed = asyncio.Event()
        self._tasks: dict[str, tuple[Credentials, asyncio.Task[None]]] = {}
        self._sessions: dict[str, Session] = {}
        self._doubted: dict[str, asyncio.Event] = {}
        self._secrets: dict[str, str] = {}
        self._waiting: dict[str, str] = {}
        self.tokens: Latest[Tokens] = Latest()
        self.tokens.set(Tokens(frozenset(self._wanted)))
        self.retired: Latest[tuple[Retired, ...]] = Latest()

    def __repr__(self) -> str:
        return f"<TokenKeeper {len(self._secrets)} of {len(self._wanted)} tokens>"

    @property
    def needed(self) -> bool:
        """Whether the host's proxies need a token where they name none."""
        return HOST in self._wanted

    def host_token(self) -> str | None:
        """Return the controller's own token: a `TokenSource`.

        Raises:
            TokenPendingError: there is to be one, and is none yet.
        """
        if HOST not in self._wanted:
            return None
        try:
            return self._secrets[HOST]
        except KeyError:
            why = self._waiting.get(HOST, "not asked for yet")
            raise TokenPendingError(f"no ACL token yet: {why}") from None

    @property
    def made(self) -> dict[str, float]:
        """When each login's token was made, Unix time, by key."""
        return {key: session.made for key, session in self._sessions.items()}

    def want(self, proxies: Iterable[Proxy]) -> None:
        """Keep tokens for exactly these proxies, and for the host."""
        own = {p.id: p.credentials for p in proxies if p.credentials is not None}
        host = {k: c for k, c in self._wanted.items() if k == HOST}
        wanted = host | own
        if wanted != self._wanted or not self._told:
            self._told, self._wanted = True, wanted
            self._publish()
            self._wanted_changed.set()

    def doubt(self, key: str) -> None:
        """Look soon whether a key's token is still accepted."""
        if key in self._doubted:
            self._doubted[key].set()

    async def run(self) -> None:
        """Keep the tokens, until cancelled. What was logged in stays so."""
        self._sessions, retired = await asyncio.to_thread(self._memory.load)
        self.retired.set(tuple(retired))
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wanted_changed.clear()
                await self._settle(tasks)
                await self._wanted_changed.wait()

    async def log_out(self, retired: Retired) -> None:
        """Destroy a token that is no longer used, for as long as it takes."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(ConsulError),
            wait=wait_random_exponential(multiplier=1, min=1, max=30),
            sleep=asyncio.sleep,
        ):
            with attempt:
                await self._acl.logout(retired.secret, retired.how)
        self.retired.set(tuple(r for r in self.retired.value or () if r != retired))
        await self._save()

    async def _settle(self, tasks: asyncio.TaskGroup) -> None:
        """Have a task for each wanted key, and none for others."""
        wanted = dict(self._wanted)
        for key, (credentials, task) in list(self._tasks.items()):
            if wanted.get(key) != credentials:
                task.cancel()
                await asyncio.wait([task])
                del self._tasks[key]
                self._secrets.pop(key, None)
                self._waiting.pop(key, None)
        for key in [k for k in self._sessions if self._told or k == HOST]:
            how = wanted[key].login if key in wanted else None
            if how is None or not same_login(how, self._sessions[key].how):
                self._retire(key, self._sessions.pop(key))
        await self._save()
        for key, credentials in wanted.items():
            if key not in self._tasks:
                self._doubted[key] = asyncio.Event()
                task = tasks.create_task(
                    self._keep(key, credentials), name=f"token {key}"
                )
                self._tasks[key] = (credentials, task)
        self._publish()

    async def _keep(self, key: str, credentials: Credentials) -> None:
        if credentials.login is not None:
            await self._keep_login(key, credentials.login)
        source: TokenSource = (
            TokenFile(credentials.token_file)
            if credentials.token_file
            else StaticToken(credentials.token)
        )
        reasons = Reasons(logger, "files_failed")
        while True:
            try:
                secret = await asyncio.to_thread(source) or ""
                reasons.report(())
                self._take(key, secret, "" if secret else "the token file is empty")
            except ConsulError as error:
                reasons.report((f"{_named(key)}: {error}",))
                self._take(key, "", str(error))
            await asyncio.sleep(FILE_CHECK)

    async def _keep_login(self, key: str, how: Login) -> None:
        spread = random.random()  # noqa: S311
        learned = how.token_ttl or None
        loop = asyncio.get_running_loop()
        session = self._sessions.get(key)
        made = loop.time()
        if session is not None:
            # The only use of the wall clock; if it jumped the token is refused, or new.
            made -= max(0.0, self._clock() - session.made)
            self._take(key, session.secret)
            self.doubt(key)
        while True:
            if session is None:
                made = loop.time()
                session = await self._log_in(key, how)
            lifetime = session.lifetime or learned
            refused = await self._until_due(key, session.secret, made, lifetime, spread)
            if refused and not lifetime:
                learned = loop.time() - made
            session = None

    async def _until_due(
        self, key: str, secret: str, made: float, lifetime: float | None, spread: float
    ) -> bool:
        """Wait until a token is to be replaced; whether because it is refused."""
        loop = asyncio.get_running_loop()
        doubted = self._doubted[key]
        check = CHECK * (0.8 + 0.4 * spread) if lifetime else UNKNOWN_CHECK
        while True:
            left = renew_in(loop.time(), made, lifetime, spread)
            try:
                async with asyncio.timeout(min(left, check)):
                    await doubted.wait()
            except TimeoutError:
                if left <= check:
                    return False
            doubted.clear()
            if await self._acl.refused(secret):
                logger.warning(
                    "%s: the servers refuse its ACL token; logging in again",
                    _named(key),
                    extra=event("token_refused"),
                )
                return True
            await asyncio.sleep(min(left, 1.0))  # however often it is doubted

    async def _log_in(self, key: str, how: Login) -> Session:
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
                        secret = await self._acl.login(how)
                except ConsulError as error:
                    why = f"login at auth method {how.auth_method}: {error}"
                    reasons.report((f"{_named(key)}: {why}; trying again",))
                    if key not in self._secrets:
                        self._take(key, "", why)
                    raise
        before = self._sessions.get(key)
        session = Session(
            how, secret, self._clock(), before.lifetime if before else None
        )
        # Kept before it is used: a token nobody remembers is never logged out.
        self._sessions[key] = session
        await self._save(*_retired(key, before))
        await self._until_accepted(secret)
        if lifetime := await self._acl.lifetime(secret, how):
            session = self._sessions[key] = replace(session, lifetime=lifetime)
            await self._save(*_retired(key, before))
        lives = f", for {session.lifetime:.0f} s" if session.lifetime else ""
        logger.info(
            "%s: logged in at auth method %s%s",
            _named(key),
            how.auth_method,
            lives,
            extra=event("logged_in"),
        )
        self._take(key, secret)
        self._retire(key, before)
        return session

    async def _until_accepted(self, secret: str) -> None:
        """Wait for the servers that lag behind the leader: one would refuse it."""
        deadline = asyncio.get_running_loop().time() + SETTLE
        await asyncio.sleep(0.1)
        while asyncio.get_running_loop().time() < deadline:
            if await self._acl.accepted(secret):
                return
            await asyncio.sleep(0.1)

    def _retire(self, key: str, session: Session | None) -> None:
        self.retired.set((*(self.retired.value or ()), *_retired(key, session)))

    def _take(self, key: str, secret: str, why: str = "") -> None:
        """Publish a key's new token; an old one stays rather than none."""
        if secret:
            self._secrets[key] = secret
            self._waiting.pop(key, None)
        elif key not in self._secrets:
            self._waiting[key] = why
        self._publish()

    def _publish(self) -> None:
        needed = frozenset(self._wanted)
        self.tokens.set(Tokens(needed, dict(self._secrets), dict(self._waiting)))

    async def _save(self, *more: Retired) -> None:
        retired = (*(self.retired.value or ()), *more)
        await asyncio.to_thread(self._memory.save, dict(self._sessions), retired)


def _retired(key: str, session: Session | None) -> tuple[Retired, ...]:
    return () if session is None else (Retired(key, session.how, session.secret),)


def _named(key: str) -> str:
    return f"proxy {key}" if key else "consul.credentials"
