"""Moves running Envoys to a new ACL token, so that the old one can be logged out.

A Consul server checks a stream by the token it was opened with, as long as it lasts. So
once the new token is in the proxy's file, the proxy's connection is cut. Envoy connects
again at once, to the same server, with the new token. Only then may the old token be
destroyed, so that no stream is ever without a valid token.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tasks import for_each
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.outcomes import Converged, Served
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.errors import KernelError, UnsupportedError
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.model.token_keys import key_of, named
from consul_ebpf.model.values import KernelState, Vip
from consul_ebpf.planning.sockets import sockets_of
from consul_ebpf.tokens.memory import Retired

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0
"""Until each Envoy has read its new file; inotify tells it at once."""

MOVED_PER_SECOND = 10.0
"""Connections that are cut; more if there are many, so that `SPAN_SECONDS` suffice."""
SPAN_SECONDS = 15.0

CONNECT_SECONDS = 5.0
"""How long to wait for Envoys to connect again."""


@dataclass(frozen=True, slots=True)
class Written:
    """The tokens in the proxies' files."""

    files: Mapping[str, Mapping[Vip, str | None]] = field(
        default_factory=dict, repr=False
    )
    """The secret by the token's key and the proxy's VIP; None: it is not known."""
    kept: frozenset[Vip] = frozenset()
    """VIPs of proxies that no source names right now. Which token their files hold is
    not known."""

    def vips(self, key: str) -> frozenset[Vip]:
        """Return the VIPs of the proxies that use a key's tokens."""
        return frozenset(self.files.get(key, {}))

    def holding(self, key: str, secret: str) -> frozenset[Vip]:
        """Return the VIPs of proxies whose files hold this secret, or may hold it."""
        files = self.files.get(key, {})
        held = {vip for vip, held in files.items() if held in {secret, None}}
        return self.kept | held


def written_by(done: Converged) -> Written:
    """Return the tokens that a round has written."""
    files: dict[str, dict[Vip, str | None]] = {}
    for outcome in done.outcomes.values():
        if isinstance(outcome, Served):
            placed = outcome.placed
            files.setdefault(key_of(placed.proxy), {})[placed.vip] = outcome.token
    return Written(files, frozenset(done.kept))


class Rotator:
    """Fills `unused` with the retired tokens that no Envoy uses any more.

    Args:
        retired: the tokens that were replaced, or that nobody needs.
        done: what the newest round wrote. Before the first one nobody knows what the
            files hold, and no token is called unused.
        tables: makes the next connect of a VIP go to the same server as its last.
        namespaces: cuts connections; None: none are cut, and servers end the streams
            when they next check the old token.
        unused: is filled with the tokens that can be logged out.
    """

    def __init__(
        self,
        retired: Latest[tuple[Retired, ...]],
        done: Latest[Converged],
        tables: Tables,
        namespaces: Namespaces | None,
        unused: Latest[frozenset[Retired]],
    ) -> None:
        self._retired = retired
        self._done = done
        self._tables = tables
        self._namespaces = namespaces
        self._unused = unused
        self._newest: tuple[Converged, Written] | None = None
        """The newest round that a token is moved by, and what it wrote."""

    def __repr__(self) -> str:
        return f"<Rotator of {len(self._retired.value or ())} tokens>"

    async def run(self) -> None:
        """Follow, until cancelled."""
        await for_each(
            self._retired.changes(),
            self._rotate,
            name=lambda retired: f"rotation of {named(retired.key)}",
            between=self._forget_others,
        )

    async def _forget_others(self, retired: Collection[Retired]) -> None:
        """Forget the tokens that are logged out."""
        self._unused.set((self._unused.value or frozenset()).intersection(retired))
        if not retired:
            self._newest = None

    def _written_by(self, done: Converged) -> Written:
        """Return what a round wrote, made once for all tokens."""
        if self._newest is None or self._newest[0] is not done:
            self._newest = done, written_by(done)
        return self._newest[1]

    async def _rotate(self, retired: Retired) -> None:
        """Move the Envoys that use an old token to the new one."""
        moved, before = 0, None
        async for done in self._done.changes():
            written = self._written_by(done)
            vips = written.vips(retired.key)
            holding = written.holding(retired.key, retired.secret)
            # Each proxy moves as soon as its file holds another token, without waiting
            # for the others; none moves if no Envoy ever had the old token.
            again = (vips if before is None else before & vips) - holding
            if retired.used and again:
                await asyncio.sleep(SETTLE_SECONDS)
                moved += await self._move(sorted(again))
            before = holding
            # While the old token is in a file, an Envoy may still use it.
            if not holding:
                break
        logger.info(
            "%s: %d connections moved to the new ACL token; logging the old one out",
            named(retired.key),
            moved,
            extra=event("token_rotated"),
        )
        self._unused.set((self._unused.value or frozenset()) | {retired})

    async def _move(self, vips: Sequence[Vip]) -> int:
        """Cut the connections that were made with an old token, one by one."""
        pause = min(1 / MOVED_PER_SECOND, SPAN_SECONDS / max(1, len(vips)))
        moved: dict[Vip, int] = {}
        try:
            state = await self._tables.read()
            for vip in vips:
                if await self._cut(vip, state):
                    moved[vip] = state.vips[vip].connects
                    await asyncio.sleep(pause)
            await self._until_connected(moved)
        except UnsupportedError as error:
            self._namespaces = None
            logger.warning(
                "%s; a proxy's stream ends when its server looks at its old token",
                error,
                extra=event("cut_failed"),
            )
        except KernelError as error:
            logger.warning("%s", error, extra=event("cut_failed"))
        return len(moved)

    async def _cut(self, vip: Vip, state: KernelState) -> bool:
        """Cut one proxy's connection; return whether there was one."""
        sockets = sockets_of(state, (vip,))
        namespaces = self._namespaces
        if namespaces is None or not sockets:
            return False
        await self._tables.stay((vip,))
        return await finish(lambda: namespaces.destroy(sockets)) > 0

    async def _until_connected(self, before: Mapping[Vip, int]) -> None:
        """Wait until each VIP has more connects than before, or `CONNECT_SECONDS`."""
        deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            now = (await self._tables.read()).vips
            if all(v not in now or now[v].connects > n for v, n in before.items()):
                return
            await asyncio.sleep(0.1)
