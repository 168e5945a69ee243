"""A `TokenKeeper` at work, and the cells it reads."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from consul_ebpf.base.latest import Latest
from consul_ebpf.model.answers import Answers, Missing
from consul_ebpf.model.seams import Acl
from consul_ebpf.model.values import Credentials, HostProxies, Proxy
from consul_ebpf.tokens.keeper import TokenKeeper
from consul_ebpf.tokens.memory import Retired, TokenMemory


class Tokens:
    """What a host's other parts are to its keeper."""

    def __init__(
        self,
        acl: Acl,
        directory: Path,
        default: Credentials | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.proxies: Latest[HostProxies] = Latest()
        self.unused: Latest[frozenset[Retired]] = Latest()
        self.doubts: Latest[Mapping[str, int]] = Latest()
        self.keeper = TokenKeeper(
            acl,
            TokenMemory(directory),
            default,
            proxies=self.proxies,
            doubts=[self.doubts],
            unused=self.unused,
            clock=clock,
        )

    def want(self, proxies: Iterable[Proxy], *, all_named: bool = True) -> None:
        """Name the host's proxies."""
        lacking = () if all_named else ("the catalog",)
        self.proxies.set(HostProxies(tuple(proxies), lacking))

    def doubt(self, key: str) -> None:
        """Give a reason to check a proxy's token."""
        times = self.doubts.value or {}
        self.doubts.set({**times, key: times.get(key, 0) + 1})

    async def secret(self, key: str, but: str = "") -> str:
        """Wait for a key's token, another one than `but`."""
        async for tokens in self.keeper.tokens.changes():
            found = tokens.value(key)
            if found and found != but:
                return found
        raise AssertionError

    @property
    def missing(self) -> dict[str, str]:
        """Why tokens are missing, by key."""
        tokens = self.keeper.tokens.value or Answers[str, str]()
        return {key: str(t) for key, t in tokens.items() if isinstance(t, Missing)}

    @property
    def retired(self) -> set[str]:
        """The secrets that are to be logged out."""
        return {each.secret for each in self.keeper.retired.value or ()}

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Run the keeper."""
        task = asyncio.create_task(self.keeper.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and task.exception():
                await task
