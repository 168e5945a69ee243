"""What Consul says of each proxy's bootstrap, asked for again and again.

Consul tells nobody when it changes. So it is asked as soon as a proxy has its id and
token, and then every so often. A failure is never fatal: what is known stays.
"""

import asyncio
import contextlib
import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.collecting import Collector
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.retry import growing
from consul_ebpf.base.timing import timed
from consul_ebpf.model.answers import Answers, Missing
from consul_ebpf.model.errors import ConsulError, TokenRefusedError
from consul_ebpf.model.token_keys import Tokens, token_of
from consul_ebpf.model.values import BootstrapParams, HostProxies, Proxy
from consul_ebpf.proxies.shared import SharedParams

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.25
"""After a failure; twice as long after each further one."""
LONGEST_RETRY_SECONDS = 30.0

TELL_AFTER = 3
"""Failures in a row until the answer is why: at a start no server is known at first."""

EARLY_SECONDS = 0.001
"""A timer may wake that much before its time, and must not wake in vain."""

NOT_KNOWN = "is not known to Consul: deleted, expired, or another cluster's"
NOT_ALLOWED = "lacks a permission: service:write for the proxy's service"
"""Why the servers refuse a token: what it is."""

Denied = Answers[str, str]
"""By proxy key: why the servers refuse its token. A proxy that is not in it has a token
that they accept, or of which nothing is known yet."""

AT_ONCE = 16
"""Questions to the servers at the same time."""

Params = Answers[str, BootstrapParams | None]
"""By proxy key. A value of None: the servers know no such question."""

Ask = Callable[[Proxy, str], Awaitable[BootstrapParams | None]]
"""Asks for a proxy with its token, which is empty where it needs none.

Raises `ConsulError`; `TokenRefusedError` where the servers do not accept the token.
"""


@dataclass(slots=True)
class _Question:
    proxy: Proxy
    token: str = field(repr=False)
    since: float
    due: float
    failures: int = 0

    def __lt__(self, other: "_Question") -> bool:
        return self.due < other.due


class CentralConfig:
    """Asks for every proxy that has its id and token; `params` has the answers.

    Nobody is asked about a proxy that has ended. One that got no answer for `patience`
    seconds is `overdue`.

    Args:
        ask: asks the servers.
        refresh: seconds from an answer to the next question for the same proxy.
        patience: seconds.
        proxies: whom to ask for.
        tokens: what to ask with.
        refused: filled with how often a proxy's token was refused, by proxy key.
    """

    def __init__(
        self,
        ask: Ask,
        refresh: float,
        patience: float = float("inf"),
        *,
        proxies: Latest[HostProxies],
        tokens: Latest[Tokens],
        refused: Latest[Mapping[str, int]] | None = None,
    ) -> None:
        self._ask = ask
        self._refresh = refresh
        self._patience = patience
        self._proxies = proxies
        self._tokens = tokens
        self._refused: Latest[Mapping[str, int]] = refused or Latest()
        self._questions: dict[str, _Question] = {}
        self._due: list[_Question] = []
        """A heap: the question to ask next is the first. One that is no longer asked,
        or that has another in its place, is skipped. One task for each proxy would be
        simpler, but takes 54 MB for 20,000."""
        self._common = SharedParams()
        self._sooner = asyncio.Event()
        self._turn = asyncio.Lock()
        """Whose turn it is to wait for the next question."""
        self._collector = Collector[str, BootstrapParams | None]()
        self._denied = Collector[str, str]()

    def __repr__(self) -> str:
        return f"<CentralConfig of {len(self._questions)} proxies>"

    @property
    def params(self) -> Latest[Params]:
        """What Consul said last of each proxy, or why that is not known."""
        return self._collector.answers

    @property
    def denied(self) -> Latest[Denied]:
        """The proxies whose tokens the servers refuse now."""
        return self._denied.answers

    async def run(self) -> None:
        """Ask, until cancelled."""
        self._questions.clear()
        self._due.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="proxies to ask for")
            for _ in range(AT_ONCE):
                tasks.create_task(self._ask_due(), name="questions")

    async def _follow(self) -> None:
        """Ask for exactly the proxies there are, each with its newest token."""
        changes = Changes(self._proxies, self._tokens)
        while True:
            await changes.wait()
            proxies = (self._proxies.value or HostProxies()).proxies
            now = asyncio.get_running_loop().time()
            before, self._questions = self._questions, {}
            for proxy in proxies:
                token = token_of(proxy, self._tokens.value)
                known = bool(proxy.id) and not proxy.ended
                if known and not isinstance(token, Missing):
                    old = before.get(proxy.key)
                    self._questions[proxy.key] = self._question_for(
                        proxy, token, now, old
                    )
            gone = before.keys() - self._questions.keys()
            self._collector.drop(gone)
            self._denied.drop(gone)

    def _question_for(
        self, proxy: Proxy, token: str, now: float, old: _Question | None
    ) -> _Question:
        """Return the question there is for a proxy, or a new one that is due now."""
        if old is not None and old.proxy.id != proxy.id:
            self._collector.drop([proxy.key])  # it was another's
        if old is None or (old.proxy is not proxy and old.proxy != proxy):
            return self._ask_later(_Question(proxy, token, now, now))
        answered = self._collector.has_value(proxy.key)
        if old.token != token and (self._denied.has_value(proxy.key) or not answered):
            # The other token may have been the reason.
            return self._ask_later(replace(old, token=token, due=now))
        old.token = token
        return old

    def _ask_later(self, question: _Question) -> _Question:
        heapq.heappush(self._due, question)
        if self._due[0] is question:
            self._sooner.set()
        return question

    def _is_asked(self, question: _Question) -> bool:
        return self._questions.get(question.proxy.key) is question

    async def _ask_due(self) -> None:
        """Ask one question after the other; `AT_ONCE` of these run."""
        loop = asyncio.get_running_loop()
        while True:
            async with self._turn:
                question = await self._next_due()
            pause = await self._ask_now(question)
            jitter = random.uniform(1.0, 1.2)  # noqa: S311
            question.due = loop.time() + pause * jitter
            self._ask_later(question)

    async def _next_due(self) -> _Question:
        """Wait until a question is due, and take it from the heap."""
        loop = asyncio.get_running_loop()
        while True:
            while self._due and self._due[0].due <= loop.time() + EARLY_SECONDS:
                question = heapq.heappop(self._due)
                if self._is_asked(question):
                    return question
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._due[0].due if self._due else None):
                    await self._sooner.wait()

    async def _ask_now(self, question: _Question) -> float:
        """Ask once; return in how many seconds to ask again."""
        proxy = question.proxy
        try:
            with boundary(ConsulError, "Consul's answer"), timed("central"):
                answer = await self._ask(proxy, question.token)
        except ConsulError as error:
            return self._note_failure(question, error)
        question.failures = 0
        if self._is_asked(question):
            self._denied.drop([proxy.key])
            shared = answer and self._common.share(proxy, answer)
            self._collector.put(proxy.key, shared)
        return self._refresh

    def _note_failure(self, question: _Question, error: ConsulError) -> float:
        """Say why there is no answer; return in how many seconds to ask again."""
        now = asyncio.get_running_loop().time()
        pause = growing(question.failures, RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        question.failures += 1
        left = question.since + self._patience - now
        overdue = left <= 0
        key = question.proxy.key
        if self._is_asked(question):
            if isinstance(error, TokenRefusedError):
                self._note_refusal(key)
                if question.failures >= TELL_AFTER:
                    why = NOT_KNOWN if error.unknown else NOT_ALLOWED
                    self._denied.put(key, why)
            if self._collector.has_value(key):
                logger.debug("bootstrap of proxy %s: %s; it stays", key, error)
            elif overdue or question.failures >= TELL_AFTER:
                self._collector.put(key, Missing(str(error), overdue=overdue))
        return pause if overdue else min(pause, left)

    def _note_refusal(self, key: str) -> None:
        """Publish that the servers did not accept a proxy's token once more."""
        before = self._refused.value or {}
        times = {each: n for each, n in before.items() if each in self._questions}
        self._refused.set(times | {key: times.get(key, 0) + 1})
