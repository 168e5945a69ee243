"""`TokenKeeper`: keeps a valid ACL token for the host, and for each proxy with its own.

A token from a login expires. It is replaced before that, or once the servers refuse it.
The old one stays valid until no Envoy uses it.
"""

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from consul_ebpf.base.collecting import Collector
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.reading import PLAIN, Reader
from consul_ebpf.base.tasks import for_each
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.errors import ConsulError, TokenPendingError
from consul_ebpf.model.seams import Acl
from consul_ebpf.model.token_keys import HOST, NOT_YET, Tokens, named
from consul_ebpf.model.values import Credentials, HostProxies
from consul_ebpf.tokens.files import NO_CREDENTIALS, TokenFiles
from consul_ebpf.tokens.login import Shared
from consul_ebpf.tokens.logins import Logins
from consul_ebpf.tokens.memory import Retired, Session, TokenMemory, same_login
from consul_ebpf.tokens.pace import ARRIVAL_TURN_SECONDS, Pace, check_seconds
from consul_ebpf.tokens.renewal import Renewal
from consul_ebpf.tokens.sessions import Sessions

logger = logging.getLogger(__name__)

_Wanted = tuple[str, Credentials]
"""A key and how to get its token. Other credentials make it another one's token."""


class TokenKeeper:
    """Fills `tokens` with the newest token of each key, and `retired` with old ones.

    Args:
        acl: asks Consul.
        memory: keeps the logins' tokens over a restart.
        default: the host's credentials; None: the servers ask for no token.
        proxies: whose tokens to keep. Until they are known, and while there may be
            others, tokens that an earlier process left are not logged out.
        doubts: cells that count, by proxy key, the reasons to check a proxy's token
            soon: its Envoy connected again, or a server refused the token.
        unused: the retired tokens that no Envoy uses any more: they are logged out.
        clock: returns Unix time.
        reader: reads the token files.
    """

    def __init__(
        self,
        acl: Acl,
        memory: TokenMemory,
        default: Credentials | None,
        *,
        proxies: Latest[HostProxies],
        doubts: Sequence[Latest[Mapping[str, int]]] = (),
        unused: Latest[frozenset[Retired]] | None = None,
        clock: Callable[[], float] = time.time,
        reader: Reader = PLAIN,
    ) -> None:
        self._files = TokenFiles(reader)
        self._acl = acl
        self._sessions = Sessions(memory)
        self._logins = Logins(acl, self._sessions, clock)
        self._shared = Shared(
            acl,
            self._sessions,
            self._logins,
            Pace(),
            Pace(ARRIVAL_TURN_SECONDS),
            lambda: check_seconds(len(self._renewals)),
            clock,
        )
        self._proxies = proxies
        self._doubts = doubts
        self._unused: Latest[frozenset[Retired]] = unused or Latest()
        self._host = {HOST: default} if default else {}
        self._kept = dict(self._host)
        """Whose tokens are kept, and how to get each."""
        self._all_named = False
        """Whether there are no other proxies."""
        self._renewals: dict[str, Renewal] = {}
        self._collector = Collector[str, str](dict.fromkeys(self._kept, NOT_YET))

    def __repr__(self) -> str:
        return f"<TokenKeeper of {len(self._kept)} tokens>"

    @property
    def logins_queued(self) -> int:
        """How many logins wait for their turn."""
        return self._logins.queued

    @property
    def logins_failing(self) -> int:
        """How many logins failed last, and are tried again."""
        return len(self._logins.failing)

    @property
    def tokens(self) -> Latest[Tokens]:
        """The secret of each key's token, or why there is none."""
        return self._collector.answers

    @property
    def retired(self) -> Latest[tuple[Retired, ...]]:
        """Logins' tokens that were replaced, or that nobody needs, and still exist."""
        return self._sessions.retired

    def host_token(self) -> str | None:
        """Return the controller's own token; None: the servers ask for none.

        Raises:
            TokenPendingError: there is none yet.
        """
        tokens = self.tokens.value or Tokens()
        token = tokens.get(HOST)
        if isinstance(token, Missing):
            raise TokenPendingError(f"no ACL token yet: {token}")
        return token

    @property
    def made(self) -> dict[str, float]:
        """When each login's token was made: Unix time by key."""
        return {key: session.made for key, session in self._sessions.current.items()}

    async def run(self) -> None:
        """Keep the tokens, until cancelled. What is logged in then stays logged in."""
        try:
            await self._keep_all()
        finally:
            await self._logins.finish()

    async def _keep_all(self) -> None:
        await self._sessions.load()
        async with asyncio.TaskGroup() as tasks:
            for cell in self._doubts:
                tasks.create_task(self._follow_doubts(cell), name="doubted tokens")
            log_outs = for_each(
                self._unused.changes(),
                self._log_out,
                name=lambda retired: f"log-out of {named(retired.key)}",
            )
            tasks.create_task(log_outs, name="log-outs")
            await for_each(
                self._wanted(),
                self._keep,
                name=lambda wanted: f"ACL token of {named(wanted[0])}",
                between=self._let_go,
            )

    async def _wanted(self) -> AsyncIterator[tuple[_Wanted, ...]]:
        """Yield whose tokens to keep: the host's own before any proxy is known."""
        if self._proxies.value is None:
            yield tuple(self._host.items())
        async for host in self._proxies.changes():
            self._all_named = not host.lacking
            self._logins.set_ended(frozenset(p.key for p in host.proxies if p.ended))
            own = {p.key: p.credentials for p in host.proxies if p.credentials}
            yield tuple((self._host | own).items())

    async def _let_go(self, wanted: Collection[_Wanted]) -> None:
        """Forget the tokens that are not kept any more, and retire their sessions."""
        before, self._kept = self._kept, dict(wanted)
        self._collector.drop(
            key
            for key, how in before.items()
            if not _make_same_token(how, self._kept.get(key))
        )
        await self._sessions.retire(
            [
                key
                for key, session in self._sessions.current.items()
                if self._is_obsolete(key, session)
            ]
        )

    def _is_obsolete(self, key: str, session: Session) -> bool:
        """Whether this session belongs to no proxy, named or not."""
        credentials = self._kept.get(key)
        if credentials is None:
            return self._all_named or key == HOST
        login = credentials.login
        return login is None or not same_login(login, session.how)

    async def _keep(self, wanted: _Wanted) -> None:
        key, credentials = wanted
        answer = functools.partial(self._collector.put, key)
        if credentials.login is not None:
            renewal = Renewal(key, credentials.login, self._shared, answer)
            self._renewals[key] = renewal
            try:
                await renewal.run()
            finally:
                del self._renewals[key]
        elif credentials.token_file:
            await self._files.follow(key, credentials.token_file, answer)
        else:
            answer(credentials.token or NO_CREDENTIALS)

    async def _follow_doubts(self, cell: Latest[Mapping[str, int]]) -> None:
        """Have a token checked soon whenever there is one more reason to."""
        before: Mapping[str, int] = {}
        async for times in cell.changes():
            for proxy, count in times.items():
                key = proxy if proxy in self._kept else HOST
                if count > before.get(proxy, 0) and key in self._renewals:
                    self._renewals[key].check_token_soon()
            before = times

    async def _log_out(self, retired: Retired) -> None:
        """Destroy a token that nobody uses any more; retry until that succeeds."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(ConsulError),
            wait=wait_random_exponential(multiplier=1, min=1, max=30),
            sleep=asyncio.sleep,
        ):
            with attempt:
                await self._acl.logout(retired.secret, retired.how)
        logger.info("%s: an old ACL token is logged out", named(retired.key))
        await self._sessions.forget(retired)


def _make_same_token(one: Credentials, other: Credentials | None) -> bool:
    """Whether two credentials differ at most in a login's bearer token."""
    if other is None or one.login is None or other.login is None:
        return one == other
    return same_login(one.login, other.login)
