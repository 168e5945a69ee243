"""Serves the page, and each new picture of it as a server-sent event."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator

from aiohttp import web

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.views.bodies import Bodies
from consul_ebpf.views.host import Host
from consul_ebpf.views.page import page_of, policy
from consul_ebpf.views.peers import client_of
from consul_ebpf.views.refusals import refusal
from consul_ebpf.views.room import Limits, Room, Who

logger = logging.getLogger(__name__)

FOLLOWERS = Limits(total=16, others=8, each=4, tcp=16, address=4)
"""How many clients may follow the page at once."""

LONGEST_SECONDS = 600.0
"""That one is followed; then the browser asks again."""

LOOK_SECONDS = 1.0
"""From one picture to the next."""

WRITE_SECONDS = 10.0
"""Within which a client must have read a picture."""

PAUSE_FACTOR = 20.0
"""After a look there is none for this many times as long as it took."""

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Live:
    """The page's routes.

    However many follow it, one picture is made for all, and none while nobody does.

    Args:
        host: tells when something has changed.
        bodies: makes the pictures.
        known: uids that only the total of followers limits.
    """

    def __init__(self, host: Host, bodies: Bodies, known: frozenset[int]) -> None:
        self._host = host
        self._bodies = bodies
        self._room = Room(known, FOLLOWERS)
        self._pictures: Latest[str] = Latest()
        self._clients = 0
        self._looking: asyncio.Task[None] | None = None
        self._troubles = Reasons(logger, "task_failed")

    def __repr__(self) -> str:
        return f"<Live {self._clients} clients>"

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, for aiohttp."""
        return [
            web.get("/", self.page, allow_head=False),
            web.get("/live", self.follow, allow_head=False),
        ]

    async def page(self, _: web.Request) -> web.Response:
        """Answer with the whole page: it can be read without its script."""
        text = page_of(await self._bodies.picture())
        headers = {**HEADERS, "Content-Security-Policy": policy()}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Answer with each new picture of the page, as JSON texts of HTML."""
        who = client_of(request)
        if not self._room.enter(who):
            return refusal(503, "too many clients follow the page; come again")
        stream = web.StreamResponse(headers=HEADERS)
        stream.content_type = "text/event-stream"
        with self._followed(who), contextlib.suppress(TimeoutError):
            await stream.prepare(request)
            async with asyncio.timeout(LONGEST_SECONDS):
                await self._send(request, stream)
        return stream

    async def _send(self, request: web.Request, stream: web.StreamResponse) -> None:
        """Send the pictures until the client has gone, which nobody tells."""
        changes = Changes(self._pictures)
        while request.transport is not None and not request.transport.is_closing():
            if await changes.wait(LOOK_SECONDS):
                async with asyncio.timeout(WRITE_SECONDS):
                    await stream.write(f"data: {self._pictures.value}\n\n".encode())

    @contextlib.contextmanager
    def _followed(self, who: Who) -> Iterator[None]:
        self._clients += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="pictures")
        try:
            yield
        finally:
            self._room.leave(who)
            self._clients -= 1
            if not self._clients:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            version, begun = self._host.outcome.version, loop.time()
            try:
                self._pictures.set(json.dumps(await self._bodies.picture()))
            except Exception as error:  # noqa: BLE001  # the next look may go well
                ours = isinstance(error, ConsulEbpfError)
                why = str(error) if ours else reason(error)
                self._troubles.report([f"the page is not drawn anew: {why}"])
            else:
                self._troubles.report([])
            pause = max(LOOK_SECONDS, PAUSE_FACTOR * (loop.time() - begun))
            await self._host.outcome.changed_since(version, pause)
