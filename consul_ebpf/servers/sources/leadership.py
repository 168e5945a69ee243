"""Whether the server that lists the servers knows the leader.

One that does not is cut off from the others, and its list will not change.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.client.channels import ChannelFactory, target_of
from consul_ebpf.client.leader import knows_leader
from consul_ebpf.client.watch_servers import Listed
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources.watch_failures import DoubtfulError

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
"""That a server has for saying whether it knows a leader."""

LOOKS = 6
"""How often a server without a leader is asked for one before it is left."""

LEADERLESS_SECONDS = 30.0
"""A server that has had no leader for so long is left. An election takes seconds."""


class Leadership:
    """Follows whether servers know a leader, and logs once which do not.

    Args:
        channels: makes channels to servers.
        patience: seconds without a leader after which a server is left.
    """

    def __init__(self, channels: ChannelFactory, patience: float) -> None:
        self._channels = channels
        self._patience = patience
        self._lost: set[str] = set()
        self._reasons = Reasons(logger, "source_failed")

    def __repr__(self) -> str:
        return f"<Leadership, lost by {len(self._lost)}>"

    def is_lost(self, server: Server) -> bool:
        """Whether a server was left, and has known no leader since."""
        return server.endpoint in self._lost

    async def while_led(
        self, server: Server, lists: AsyncGenerator[tuple[Listed, ...], None]
    ) -> AsyncGenerator[tuple[Listed, ...], None]:
        """Yield the lists until the server has known no leader for too long.

        Raises:
            DoubtfulError: it has. What `lists` raises is raised, too.
        """
        lost = asyncio.create_task(self._lose_leader(server))
        try:
            async with aclosing(lists):
                while True:
                    newest = asyncio.ensure_future(anext(lists))
                    if not await _first(newest, lost):
                        await lost  # raises what went wrong there
                        self._note(server, leader=False)
                        raise DoubtfulError(f"{server.endpoint}: it has no leader")
                    yield await newest
        finally:
            lost.cancel()
            await asyncio.wait([lost])

    async def _lose_leader(self, server: Server) -> None:
        """Return once the server has known no leader for too long."""
        loop = asyncio.get_running_loop()
        channel = self._channels(target_of(server))
        since: float | None = None
        try:
            while True:
                await asyncio.sleep(self._patience / LOOKS)
                knows = await knows_leader(channel, server.endpoint, ANSWER_SECONDS)
                if knows is not False:
                    since = None
                    if knows:
                        self._note(server, leader=True)
                    continue
                since = loop.time() if since is None else since
                if loop.time() >= since + self._patience:
                    return
        finally:
            await channel.close()

    def _note(self, server: Server, *, leader: bool) -> None:
        """Log once for each server that it has no leader, until it has one again."""
        if leader:
            self._lost.discard(server.endpoint)
        else:
            self._lost.add(server.endpoint)
        self._reasons.report(
            f"WatchServers: {each} has no leader; asking another server"
            for each in self._lost
        )


async def _first(wanted: asyncio.Future[Any], other: asyncio.Future[Any]) -> bool:
    """Wait for one of the two.

    False: `other` is done and `wanted` is not; `wanted` is then cancelled.
    """
    try:
        await asyncio.wait({wanted, other}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = wanted.done()
        if not done:
            wanted.cancel()
            await asyncio.wait([wanted])
    return done
