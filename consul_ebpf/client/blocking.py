"""Watches something in Consul with blocking queries.

`watch_query` goes on for ever, over several addresses; an index (`_Watch.index`) is
valid for one of them; each query (`_Watch.ask`) begins where that index ended.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_random_exponential,
)

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.events import event
from consul_ebpf.base.lines import one_line
from consul_ebpf.base.timing import done, observe
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.client.token import TokenSource, no_token
from consul_ebpf.client.transport import Https
from consul_ebpf.model.errors import (
    ConfigError,
    ConsulEbpfError,
    ConsulError,
    TokenPendingError,
)
from consul_ebpf.model.http_address import in_turn

logger = logging.getLogger(__name__)

T = TypeVar("T")

Query = Callable[[ConsulHttp, int | None, str], Awaitable[tuple[Any, Any]]]
"""Called as `query(consul, index, wait)`, returns `(index, data)`."""

WAIT_SECONDS = 60.0
"""Seconds that a query blocks: short enough to notice an agent that hangs."""

BUSY_SECONDS = 0.1
"""Least seconds between two queries while the index advances."""

IDLE_SECONDS = 1.0
"""The same if Consul answers at once though nothing changed: then we are polling."""

LARGE = 64 * 1024
"""An answer of more bytes is decoded in a thread, beside the event loop."""

LEADERLESS_SECONDS = 5.0
"""Seconds from one address to the next while none of them knows a leader."""

PENDING_SECONDS = 0.2
"""How often to look for an ACL token while there is none."""


class LeaderlessError(ConsulError):
    """The server that answered knows no leader; another one may know better."""


async def watch_query(
    addresses: Sequence[str],
    query: Query,
    decode: Callable[[Any], T],
    *,
    what: str,
    datacenter: str = "",
    token: TokenSource = no_token,
    https: Https | None = None,
    wait: float = WAIT_SECONDS,
) -> AsyncGenerator[T, None]:
    """Yield the decoded answer at once, and again whenever Consul says it changed.

    It never ends, and may yield equal answers in a row. On an error, the addresses are
    tried one after the other, with back-off. The log tells when that begins and ends.

    Args:
        addresses: HTTP API addresses, as `in_turn` reads them.
        query: asks once, by `ConsulHttp.read`.
        decode: makes a value of the answer's data; whatever it raises means that the
            answer cannot be used. Large data is decoded in a thread.
        what: names what is asked for in log lines, like "the servers in the catalog".
        datacenter: empty for the datacenter of the agent that answers.
        token: called before each query.
        https: how to verify https addresses; None: by the system's certificates.
        wait: seconds a query blocks when nothing changes.

    Raises:
        ConfigError: an address cannot be read, or there is none.
    """
    if not addresses:
        raise ConfigError("no HTTP address of Consul: set consul.http_addresses")
    async with AsyncExitStack() as stack:
        turns = [
            _Turn(
                await stack.enter_async_context(
                    ConsulHttp(address, datacenter=datacenter, token=token, https=https)
                ),
                str(address),
            )
            for address in in_turn(addresses)
        ]
        watch = _Watch(turns, query, decode, what, wait)
        ask = AsyncRetrying(
            retry=retry_if_exception_type(ConsulEbpfError),
            wait=watch.turn_over,
            sleep=asyncio.sleep,
        )
        while True:
            yield await ask(watch.ask)


class _Turn:
    """One address, and when it may be asked again (event loop time)."""

    def __init__(self, consul: ConsulHttp, address: str) -> None:
        self.consul = consul
        self.address = address
        self.not_before = 0.0


class _Watch:
    """The state between two queries."""

    def __init__(
        self,
        turns: Sequence[_Turn],
        query: Query,
        decode: Callable[[Any], Any],
        what: str,
        wait: float,
    ) -> None:
        self.turns = list(turns)  # the one to ask is the first
        self.query = query
        self.decode = decode
        self.what = what
        self.wait = wait
        self.index = 0
        self.earliest = 0.0
        self.failing = False
        self.leaderless = 0
        """Answers in a row of no use or without a leader."""
        # The window doubles once each address had its turn.
        self.backoff = wait_random_exponential(
            multiplier=0.5, min=0.5, max=60, exp_base=2 ** (1 / len(turns))
        )

    async def ask(self) -> Any:
        """Ask once, block while nothing changes, and keep the index that came."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.earliest - loop.time())
        begun = loop.time()
        turn = self.turns[0]
        raw, data = await self.query(turn.consul, self.index or None, f"{self.wait:g}s")
        at = f"Consul at {turn.address}"
        with boundary(ConsulError, at):
            if isinstance(data, bytes) and len(data) > LARGE:
                answer = await asyncio.to_thread(self.decode, data)
            else:
                answer = self.decode(data)
            index = int(raw)
        if not turn.consul.known_leader and self.leaderless < len(self.turns) - 1:
            raise LeaderlessError(f"{at}: it knows no leader")
        if self.index:
            done("discovery")
        else:
            observe("discovery", loop.time() - begun)
        interval = BUSY_SECONDS if index > self.index > 0 else IDLE_SECONDS
        if self.index == 0 < index:
            interval = BUSY_SECONDS  # the first answer; from here on it blocks
        self.earliest = begun + interval
        # Backwards (a restored snapshot, another server): ask afresh. The data is good.
        self.index = index if index >= self.index else 0
        if turn.consul.known_leader:
            self.leaderless = 0
        elif len(self.turns) > 1:
            # Nobody has a leader. Look round soon; do not block at this one.
            turn.not_before = begun + LEADERLESS_SECONDS
            self.turns = self.turns[1:] + self.turns[:1]
            self.turns.sort(key=lambda turn: turn.not_before)
            self.index = 0
            self.earliest = max(turn.not_before, self.turns[0].not_before)
        if self.failing:
            self.failing = False
            logger.info("%s: Consul at %s answers again", self.what, turn.address)
        return answer

    def turn_over(self, state: RetryCallState) -> float:
        """Say how long to wait after a failure, and for whom.

        Each address waits out its own back-off or Retry-After, so one that asks for
        a pause does not hold up the others.
        """
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TokenPendingError):
            return PENDING_SECONDS
        now = asyncio.get_running_loop().time()
        pause = max(self.backoff(state), getattr(error, "retry_after", None) or 0.0)
        if isinstance(error, LeaderlessError):
            pause = 0.0  # it answers, and is the next best
        self.turns[0].not_before = now + pause
        self.leaderless += 1
        self.turns = self.turns[1:] + self.turns[:1]
        self.turns.sort(key=lambda turn: turn.not_before)
        self.index = 0
        if not self.failing:
            self.failing = True
            logger.warning(
                "%s: %s; keeping what is known, trying %s",
                self.what,
                one_line(error or ""),
                "again" if len(self.turns) == 1 else "the next address",
                extra=event("source_failed"),
            )
        else:
            logger.debug("%s: %s", self.what, error)
        return max(0.0, self.turns[0].not_before - now)
