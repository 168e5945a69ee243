"""Serves the page, and each new picture of it as a server-sent event."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Callable, Iterator, Mapping

from aiohttp import web

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.views.answers import refusal
from consul_ebpf.views.host import Host
from consul_ebpf.views.page import main_of, page_of, policy
from consul_ebpf.views.rates import Rates
from consul_ebpf.views.status import Status, status_of
from consul_ebpf.views.verdict import judged

logger = logging.getLogger(__name__)

MOST_CLIENTS = 16
"""That follow the page at once."""

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


Draw = Callable[[Status, str, Mapping[str, float]], str]
"""Makes HTML of a status, the host's name and the servers' connects of a second."""


class Live:
    """The page's routes.

    However many follow it, one picture is made for all, and none while nobody does.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pictures: Latest[str] = Latest()
        self._clients = 0
        self._looking: asyncio.Task[None] | None = None
        self._rates = Rates()
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
        text = await self._draw(page_of)
        headers = {**HEADERS, "Content-Security-Policy": policy()}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Answer with each new picture of the page, as JSON texts of HTML."""
        if self._clients >= MOST_CLIENTS:
            return refusal(503, f"{MOST_CLIENTS} clients follow the page already")
        stream = web.StreamResponse(headers=HEADERS)
        stream.content_type = "text/event-stream"
        with self._followed(), contextlib.suppress(TimeoutError):
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
    def _followed(self) -> Iterator[None]:
        self._clients += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="pictures")
        try:
            yield
        finally:
            self._clients -= 1
            if not self._clients:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            version, begun = self._host.outcome.version, loop.time()
            try:
                self._pictures.set(json.dumps(await self._draw(main_of)))
            except Exception as error:  # noqa: BLE001  # the next look may go well
                ours = isinstance(error, ConsulEbpfError)
                why = str(error) if ours else reason(error)
                self._troubles.report([f"the page is not drawn anew: {why}"])
            else:
                self._troubles.report([])
            pause = max(LOOK_SECONDS, PAUSE_FACTOR * (loop.time() - begun))
            await self._host.outcome.changed_since(version, pause)

    async def _draw(self, draw: Draw) -> str:
        snapshot = await self._host.snapshot()
        status = await asyncio.to_thread(lambda: judged(status_of(snapshot)))
        rates = self._rates.add(snapshot.monotonic, status.servers)
        return await asyncio.to_thread(draw, status, socket.gethostname(), rates)
