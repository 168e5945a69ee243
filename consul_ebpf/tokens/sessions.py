"""The logins' tokens: those in use and those still to be logged out, kept on disk."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.threads import to_end
from consul_ebpf.tokens.memory import Retired, Session, TokenMemory


class Sessions:
    """What is logged in, by key; `retired` has what is to be logged out.

    The state is in memory. One task at a time writes all of it, and once more if it
    changed meanwhile, so no write can bring back an older state. Each method returns
    when its change is on disk, even if it is cancelled.
    """

    def __init__(self, memory: TokenMemory) -> None:
        self._memory = memory
        self._current: dict[str, Session] = {}
        self._new: dict[str, Session] = {}
        """What is to replace `current` once the servers know it."""
        self._retired: tuple[Retired, ...] = ()
        self._dirty = False
        self._writer: asyncio.Task[None] | None = None
        self.retired: Latest[tuple[Retired, ...]] = Latest()
        """What nobody is to use any more; published once it is on disk as such."""

    def __repr__(self) -> str:
        return f"<Sessions {len(self._current)} {self._memory!r}>"

    @property
    def current(self) -> Mapping[str, Session]:
        """What is logged in, by key."""
        return MappingProxyType(self._current)

    async def load(self) -> None:
        """Read what an earlier process left, once."""
        if self.retired.version:
            return
        self._current, retired = await asyncio.to_thread(self._memory.load)
        self._retired = tuple(retired)
        self.retired.set(self._retired)

    async def begin(self, key: str, session: Session) -> None:
        """Remember a login's new token before anybody uses it.

        On disk it is a token to log out, and the key's session is still the old one.
        So after a crash the old token is used on, and the new one is logged out.
        """
        self._new[key] = session
        await self._save()

    async def promote(self, key: str, session: Session) -> None:
        """Make a new token its key's session, and retire the one before."""
        self._new.pop(key, None)
        before = self._current.get(key)
        if before is not None and before.secret != session.secret:
            self._retired += (Retired(key, before.how, before.secret),)
        self._current[key] = session
        await self._save()

    async def give_up(self, key: str) -> None:
        """Retire a key's new token that was not promoted, if there is one."""
        if key in self._new:
            await self.reject(key, self._new.pop(key))

    async def reject(self, key: str, session: Session) -> None:
        """Retire a login's token that nobody wants any more."""
        self._retired += (_unused(key, session),)
        await self._save()

    async def retire(self, keys: list[str]) -> None:
        """Retire these keys' sessions."""
        for key in keys:
            session = self._current.pop(key)
            self._retired += (Retired(key, session.how, session.secret),)
        if keys:
            await self._save()

    async def forget(self, retired: Retired) -> None:
        """Forget a token that was logged out."""
        self._retired = tuple(each for each in self._retired if each != retired)
        await self._save()

    async def _save(self) -> None:
        """Return when all that is in memory now is on disk."""
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
