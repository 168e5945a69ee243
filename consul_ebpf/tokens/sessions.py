"""The logins' tokens: those in use and those still to be logged out, kept on disk."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.threads import to_end
from consul_ebpf.tokens.memory import Retired, Session, TokenMemory


class Sessions:
    """What is logged in, by key; `retired` has what is no longer to be.

    The whole state is in memory, on the event loop. One task at a time writes it, and
    writes again what changed meanwhile: so no write can bring back what an earlier one
    knew. Whoever saves waits until all that it changed is on disk, even when cancelled.
    """

    def __init__(self, memory: TokenMemory) -> None:
        """Keep them in `memory`, which outlives this process."""
        self._memory = memory
        self._current: dict[str, Session] = {}
        self._new: dict[str, Session] = {}
        """What takes the place of `current` once the servers know it."""
        self._retired: tuple[Retired, ...] = ()
        self._dirty = False
        self._writer: asyncio.Task[None] | None = None
        self.retired: Latest[tuple[Retired, ...]] = Latest()
        """Those that nobody is to use any more, once the disk has them as such."""

    def __repr__(self) -> str:
        return f"<Sessions {len(self._current)} {self._memory!r}>"

    @property
    def current(self) -> Mapping[str, Session]:
        """What is logged in, by key."""
        return MappingProxyType(self._current)

    async def load(self) -> None:
        """Take up what an earlier process left, unless that is done."""
        if self.retired.version:
            return
        self._current, retired = await asyncio.to_thread(self._memory.load)
        self._retired = tuple(retired)
        self.retired.set(self._retired)

    async def begin(self, key: str, session: Session) -> None:
        """Remember a login's new token before anybody uses it.

        On disk it is one to be logged out, and the one before is the key's: so a crash
        leaves what is in use in use, and no token that nobody logs out.
        """
        self._new[key] = session
        await self._save()

    async def promote(self, key: str, session: Session) -> None:
        """Have a key's new token be its own, and the one before be logged out."""
        self._new.pop(key, None)
        before = self._current.get(key)
        if before is not None and before.secret != session.secret:
            self._retired += (Retired(key, before.how, before.secret),)
        self._current[key] = session
        await self._save()

    async def give_up(self, key: str) -> None:
        """Have a key's new token logged out that did not come into use, if any."""
        if key in self._new:
            self._retired += (_unused(key, self._new.pop(key)),)
            await self._save()

    async def retire(self, keys: list[str]) -> None:
        """Have these keys' sessions logged out as soon as nobody uses them."""
        for key in keys:
            session = self._current.pop(key)
            self._retired += (Retired(key, session.how, session.secret),)
        if keys:
            await self._save()

    async def forget(self, retired: Retired) -> None:
        """Drop one that is logged out."""
        self._retired = tuple(each for each in self._retired if each != retired)
        await self._save()

    async def _save(self) -> None:
        """Have all that is in memory now on disk before this returns."""
        self._dirty = True
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="tokens.json")
        await to_end(self._writer)

    async def _write(self) -> None:
        while self._dirty:
            self._dirty = False
            retired = self._retired
            new = (_unused(key, session) for key, session in self._new.items())
            await asyncio.to_thread(
                self._memory.save, dict(self._current), (*retired, *new)
            )
            self.retired.set(retired)


def _unused(key: str, session: Session) -> Retired:
    return Retired(key, session.how, session.secret, used=False)
