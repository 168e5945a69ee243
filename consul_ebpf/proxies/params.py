"""What Consul says of each proxy's bootstrap, asked for again and again.

Consul tells nobody when it changes, so it is asked: as soon as a proxy is known, and
then every so often. A failure leaves what is known; it is never fatal.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.retry import growing
from consul_ebpf.base.timing import timed
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import BootstrapParams, Proxy

logger = logging.getLogger(__name__)

AGAIN = 0.25
"""Seconds after a failure; twice as long after each further one, up to `AT_MOST`."""
AT_MOST = 30.0

TELL = 3
"""Failures in a row after which it is told: at a start no server is known at first."""

EARLY = 0.001
"""Seconds: a timer may wake that much before its time, and must not wake in vain."""

AT_ONCE = 16
"""Questions to the servers at the same time."""

TOGETHER = 1.0
MANY = 20_000
"""Seconds that answers wait for others where there are so many proxies; less for
fewer. Each time all that is known is told anew."""

Ask = Callable[[Proxy, str], Awaitable[BootstrapParams | None]]
"""Asks for a proxy with its token; None: the servers know no such question."""


@dataclass(frozen=True, slots=True)
class Params:
    """What is known, by proxy key, and why the rest is not.

    `overdue` are those that have waited long enough: better a bootstrap without.
    """

    found: Mapping[str, BootstrapParams | None] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    overdue: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Question:
    proxy: Proxy
    token: str = field(repr=False)
    since: float
    due: float = 0.0
    failures: int = 0


class CentralConfig:
    """Follows the parameters of the proxies it is told; `params` has the newest."""

    def __init__(
        self, ask: Ask, refresh: float, patience: float = float("inf")
    ) -> None:
        """Ask by `ask`, each proxy every `refresh` seconds.

        One that got no answer for `patience` seconds is overdue.
        """
        self._ask = ask
        self._refresh = refresh
        self._patience = patience
        self._overdue: set[str] = set()
        self._questions: dict[str, _Question] = {}
        self._found: dict[str, BootstrapParams | None] = {}
        self._waiting: dict[str, str] = {}
        self._due: list[tuple[float, int, _Question]] = []
        """A heap of when to ask what; one that is not its question's own is old."""
        self._order = itertools.count()
        self._sooner = asyncio.Event()
        self._telling: asyncio.TimerHandle | None = None
        self._free = asyncio.Semaphore(AT_ONCE)
        self.params: Latest[Params] = Latest()
        self.params.set(Params())

    def __repr__(self) -> str:
        return f"<CentralConfig {len(self._found)} of {len(self._questions)} proxies>"

    def want(self, proxies: Mapping[Proxy, str]) -> None:
        """Follow exactly these proxies, each with its token (empty: none)."""
        now = asyncio.get_running_loop().time()
        before, self._questions = self._questions, {}
        for proxy, token in proxies.items():
            old = before.get(proxy.key)
            if old is not None and old.proxy.id != proxy.id:
                self._forget(proxy.key)  # it was another's
            if old is None or old.proxy != proxy:
                old = _Question(proxy, token, now)
                self._ask_at(now, old)
            elif old.token != token and proxy.key not in self._found:
                self._ask_at(now, old)  # the other token was the reason, perhaps
            old.token = token
            self._questions[proxy.key] = old
        for gone in before.keys() - self._questions.keys():
            self._forget(gone)

    def _forget(self, key: str) -> None:
        self._found.pop(key, None)
        self._waiting.pop(key, None)
        self._overdue.discard(key)

    def _ask_at(self, due: float, question: _Question) -> None:
        question.due = due
        heapq.heappush(self._due, (due, next(self._order), question))
        if self._due[0][2] is question:
            self._sooner.set()

    async def run(self) -> None:
        """Ask, until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                while self._due and self._due[0][0] <= loop.time() + EARLY:
                    due, _, question = heapq.heappop(self._due)
                    wanted = self._questions.get(question.proxy.key) is question
                    if wanted and due == question.due:
                        tasks.create_task(self._put(question))
                self._sooner.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(
                        self._due[0][0] if self._due else None
                    ):
                        await self._sooner.wait()

    async def _put(self, question: _Question) -> None:
        proxy = question.proxy
        try:
            async with self._free:
                with boundary(ConsulError, "Consul's answer"), timed("central"):
                    answer = await self._ask(proxy, question.token)
        except ConsulError as error:
            pause = growing(question.failures, AGAIN, AT_MOST)
            question.failures += 1
            waited = asyncio.get_running_loop().time() - question.since
            self._fail(question, str(error), overdue=waited >= self._patience)
            if waited < self._patience:
                pause = min(pause, self._patience - waited)
        else:
            pause = self._refresh
            question.failures = 0
            known = proxy.key in self._found and self._found[proxy.key] == answer
            if self._questions.get(proxy.key) is question and not known:
                self._waiting.pop(proxy.key, None)
                self._overdue.discard(proxy.key)
                self._found[proxy.key] = answer
                self._publish()
        jitter = random.uniform(1.0, 1.2)  # noqa: S311
        self._ask_at(asyncio.get_running_loop().time() + pause * jitter, question)

    def _fail(self, question: _Question, why: str, *, overdue: bool) -> None:
        proxy = question.proxy
        if self._questions.get(proxy.key) is not question:
            return
        if proxy.key in self._found:
            logger.debug("bootstrap of proxy %s: %s; it stays", proxy.name, why)
            return
        if overdue:
            self._overdue.add(proxy.key)
        if overdue or question.failures >= TELL:
            self._waiting[proxy.key] = why
            self._publish()

    def _publish(self) -> None:
        """Tell soon: answers that come one after the other are told together."""
        if self._telling is None:
            delay = min(TOGETHER, len(self._questions) * TOGETHER / MANY)
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(delay, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self.params.set(
            Params(dict(self._found), dict(self._waiting), frozenset(self._overdue))
        )
