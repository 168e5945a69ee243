"""The logins' tokens: those in use and those still to be logged out, kept on disk."""

import asyncio

from consul_ebpf.base.latest import Latest
from consul_ebpf.tokens.memory import Retired, Session, TokenMemory


class Sessions:
    """What is logged in, by key; `retired` has what is no longer to be."""

    def __init__(self, memory: TokenMemory) -> None:
        """Keep them in `memory`, which outlives this process."""
        self._memory = memory
        self.current: dict[str, Session] = {}
        self._replaced: dict[str, Retired] = {}
        """What `current` takes the place of, while that is not in use yet."""
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
        if before is not None:
            self._replaced[key] = Retired(key, before.how, before.secret)
        await self.save()

    def release(self, key: str) -> None:
        """Have the session before logged out: the new one is in use, or given up."""
        if key in self._replaced:
            self._retire(self._replaced.pop(key))

    def retire(self, key: str) -> None:
        """Have a key's session logged out as soon as nobody uses it."""
        session = self.current.pop(key)
        self._retire(Retired(key, session.how, session.secret))

    async def forget(self, retired: Retired) -> None:
        """Drop one that is logged out."""
        self.retired.set(tuple(r for r in self.retired.value or () if r != retired))
        await self.save()

    async def save(self) -> None:
        """Write all."""
        retired = (*(self.retired.value or ()), *self._replaced.values())
        await asyncio.to_thread(self._memory.save, dict(self.current), retired)

    def _retire(self, retired: Retired) -> None:
        self.retired.set((*(self.retired.value or ()), retired))
