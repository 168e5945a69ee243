"""A new token on its way to the servers: waited for, not replaced."""

import asyncio
from collections.abc import Callable

from consul_ebpf.base.retry import growing
from consul_ebpf.model.seams import Acl
from consul_ebpf.tokens.pace import Pace

FIRST_PAUSE = 0.1
"""Seconds from a login to the first question; from one to the next twice as many."""
LONGEST_PAUSE = 15.0

SETTLE = 5.0
"""Seconds that all servers have to learn of a new token before it is used with those
that know it, where the old one is no good."""

SETTLE_LONG = 60.0
"""The same while the old one is good."""

PATIENCE = 300.0
"""Seconds until a token that no server knows is given up for lost; twice as many for
each further one. In a secondary datacenter it comes by replication."""
LONGEST_PATIENCE = 3600.0


class Arrival:
    """Follows one new token until it can be used.

    Args:
        acl: Consul.
        secret: the token.
        good_until: the loop's time for which the old token is believed to be good.
        given_up: how many before it were lost.
    """

    def __init__(
        self, acl: Acl, secret: str, good_until: float, given_up: int = 0
    ) -> None:
        self._acl = acl
        self._secret = secret
        self._good_until = good_until
        self._patience = growing(given_up, PATIENCE, LONGEST_PATIENCE)

    def __repr__(self) -> str:
        return f"<Arrival good until {self._good_until}>"

    async def wait(self, pace: Pace, say: Callable[[str], None]) -> bool:
        """Wait until the token can be used; False: it never came.

        `say` is told once if that takes long.
        """
        loop = asyncio.get_running_loop()
        begun, asked, said = loop.time(), 0, False
        while True:
            await asyncio.sleep(growing(asked, FIRST_PAUSE, LONGEST_PAUSE))
            asked += 1
            if asked > 2:
                await pace.turn()
            if await self._acl.accepted(self._secret):
                return True
            nobody = await self._acl.refused(self._secret)
            now = loop.time()
            waited = now - begun
            if nobody and waited >= self._patience:
                return False
            if not nobody and waited >= SETTLE_LONG:
                return True
            if not nobody and waited >= SETTLE and now >= self._good_until:
                return True
            if waited >= SETTLE and not said:
                said = True
                who = "no server knows" if nobody else "not every server knows"
                say(f"{who} its new ACL token yet; waiting for it")
