"""`TokenKeeper`: every proxy's ACL token, and the host's own, always a good one.

Consul's logins make tokens that expire. Each is replaced in time, or once the servers
refuse it; the old one is not touched until `log_out` is told that nobody uses it.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.reading import PLAIN, Reader
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.tasks import keep_running
from consul_ebpf.client.token import TokenFile
from consul_ebpf.model.errors import ConsulError, TokenPendingError
from consul_ebpf.model.seams import Acl
from consul_ebpf.model.values import Credentials, Proxy
from consul_ebpf.tokens.keys import HOST, named
from consul_ebpf.tokens.memory import Retired, TokenMemory, same_login
from consul_ebpf.tokens.pace import Pace, check_interval
from consul_ebpf.tokens.renewal import Renewal
from consul_ebpf.tokens.sessions import Sessions
from consul_ebpf.tokens.shared import Shared

logger = logging.getLogger(__name__)

FILE_CHECK = 2.0
"""Seconds between looks at a token's file."""

READERS = 2
"""Files read at a time: a slow file system must not take every thread of the pool."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Every key's token, and why those that have none do not."""

    needed: frozenset[str] = frozenset()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    waiting: Mapping[str, str] = field(default_factory=dict)


class TokenKeeper:
    """Keeps a token for each key; `tokens` has the newest of all.

    Args:
        acl: Consul.
        memory: outlives this process.
        default: the whole host's; None: the servers ask for no token.
        clock: Unix time.
        reader: reads the tokens' files.
    """

    def __init__(
        self,
        acl: Acl,
        memory: TokenMemory,
        default: Credentials | None,
        clock: Callable[[], float] = time.time,
        reader: Reader = PLAIN,
    ) -> None:
        self._reader = reader
        self._reading = asyncio.Semaphore(READERS)
        self._acl = acl
        self._sessions = Sessions(memory)
        self._shared = Shared(
            acl,
            self._sessions,
            Pace(),
            lambda: check_interval(len(self._renewals)),
            clock,
        )
        self._wanted: dict[str, Credentials] = {HOST: default} if default else {}
        self._told = False
        """Whether the proxies are known: until then none of them is gone."""
        self._wanted_changed = asyncio.Event()
        self._tasks: dict[str, tuple[Credentials, asyncio.Task[None]]] = {}
        self._renewals: dict[str, Renewal] = {}
        self._secrets: dict[str, str] = {}
        self._waiting: dict[str, str] = {}
        self.tokens: Latest[Tokens] = Latest()
        self.tokens.set(Tokens(frozenset(self._wanted)))

    def __repr__(self) -> str:
        return f"<TokenKeeper {len(self._secrets)} of {len(self._wanted)} tokens>"

    @property
    def retired(self) -> Latest[tuple[Retired, ...]]:
        """Logins' tokens that were replaced and are still to be logged out."""
        return self._sessions.retired

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
        return {key: session.made for key, session in self._sessions.current.items()}

    def want(self, proxies: Iterable[Proxy], *, all_named: bool = True) -> None:
        """Keep tokens for exactly these proxies, and for the host.

        Where not all proxies are named, tokens that an earlier process left for others
        are not logged out.
        """
        own = {p.key: p.credentials for p in proxies if p.credentials is not None}
        host = {k: c for k, c in self._wanted.items() if k == HOST}
        wanted = host | own
        if wanted != self._wanted or all_named != self._told:
            self._told, self._wanted = all_named, wanted
            self._publish()
            self._wanted_changed.set()

    def doubt(self, key: str) -> None:
        """Look soon whether a key's token is still accepted."""
        if key in self._renewals:
            self._renewals[key].doubt()

    async def run(self) -> None:
        """Keep the tokens, until cancelled. What was logged in stays so."""
        await self._sessions.load()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._wanted_changed.clear()
                    await self._settle(tasks)
                    await self._wanted_changed.wait()
        finally:
            self._tasks.clear()

    async def log_out(self, retired: Retired) -> None:
        """Destroy a token that is no longer used, for as long as it takes."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(ConsulError),
            wait=wait_random_exponential(multiplier=1, min=1, max=30),
            sleep=asyncio.sleep,
        ):
            with attempt:
                await self._acl.logout(retired.secret, retired.how)
        await self._sessions.forget(retired)

    async def _settle(self, tasks: asyncio.TaskGroup) -> None:
        """Have a task for each wanted key, and none for others."""
        wanted = dict(self._wanted)
        ending = {
            key: task
            for key, (credentials, task) in self._tasks.items()
            if wanted.get(key) != credentials
        }
        for task in ending.values():
            task.cancel()
        if ending:  # all at once: a login under way is given a moment
            await asyncio.wait(ending.values())
        for key in ending:
            del self._tasks[key]
            self._renewals.pop(key, None)
            self._secrets.pop(key, None)
            self._waiting.pop(key, None)
        gone = []
        for key, session in self._sessions.current.items():
            how = wanted[key].login if key in wanted else None
            known = self._told or key == HOST
            if known and (how is None or not same_login(how, session.how)):
                gone.append(key)
        await self._sessions.retire(gone)
        for key, credentials in wanted.items():
            if key not in self._tasks:
                name = f"ACL token of {named(key)}"
                keep = functools.partial(self._keep, key, credentials)
                task = tasks.create_task(keep_running(name, keep), name=name)
                self._tasks[key] = (credentials, task)
        self._publish()

    async def _keep(self, key: str, credentials: Credentials) -> None:
        if credentials.login is not None:
            take = functools.partial(self._take, key)
            renewal = Renewal(key, credentials.login, self._shared, take)
            self._renewals[key] = renewal
            await renewal.run()
        if not credentials.token_file:
            why = "its credentials have neither token, token_file nor a login"
            self._take(key, credentials.token, why)
            return
        source = TokenFile(credentials.token_file, reader=self._reader)
        reasons = Reasons(logger, "files_failed")
        while True:
            try:
                async with self._reading:
                    secret = await asyncio.to_thread(source)
                reasons.report(())
                self._take(key, secret or "")
            except ConsulError as error:
                reasons.report((f"{named(key)}: {error}",))
                self._take(key, "", str(error))
            await asyncio.sleep(FILE_CHECK)

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
