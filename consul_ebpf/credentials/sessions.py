"""The logins' tokens: those in use and those still to be logged out, kept on disk."""

import asyncio

from consul_ebpf._latest import Latest
from consul_ebpf.credentials.memory import Retired, Session, TokenMemory


class Sessions:
    """What is logged in, by key; `retired` has what is no longer to be."""

    def __init__(self, memory: TokenMemory) -> None:
        """Keep them in `memory`, which outlives this process."""
        self._memory = memory
        self.current: dict[str, Session] = {}
        self.retired: Latest[tuple[Retired, ...]] = Latest()

    def __repr__(self) -> str:
        return f"<Sessions {len(self.current)} {self._memory!r}>"

    async def load(self) -> None:
        """Take up what an earlier process left."""
        self.current, retired = await asyncio.to_thread(self._memory.load)
        self.retired.set(tuple(retired))

    async def keep(self, key: str, session: Session, before: Session | None) -> None:
        """Keep a new session; the one before is on disk as one to be logged out.

        Before the new one is used: a token nobody remembers is never logged out.
        """
        self.current[key] = session
        await self.save(*_retired(key, before))

    def retire(self, key: str, session: Session | None) -> None:
        """Have a session logged out as soon as nobody uses it."""
        self.retired.set((*(self.retired.value or ()), *_retired(key, session)))

    async def forget(self, retired: Retired) -> None:
        """Drop one that is logged out."""
        self.retired.set(tuple(r for r in self.retired.value or () if r != retired))
        await self.save()

    async def save(self, *more: Retired) -> None:
        """Write all, and `more` as retired."""
        retired = (*(self.retired.value or ()), *more)
        await asyncio.to_thread(self._memory.save, dict(self.current), retired)


def _retired(key: str, session: Session | None) -> tuple[Retired, ...]:
    return () if session is None else (Retired(key, session.how, session.secret),)
