"""The endpoint's routes. Every error is JSON: `{"error": "one line"}`."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import asdict

import msgspec
from aiohttp import web

from consul_ebpf.base.boundary import boundary, reason
from consul_ebpf.base.lines import one_line
from consul_ebpf.config.decoding import convert
from consul_ebpf.config.schema import ProxyEntry
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.names import shown
from consul_ebpf.proxies.sources.precedence import of_catalog
from consul_ebpf.proxies.sources.registered import RegisteredWorkloads, not_ours
from consul_ebpf.views.bodies import Bodies, view
from consul_ebpf.views.host import Host
from consul_ebpf.views.live import Live
from consul_ebpf.views.peers import client_of
from consul_ebpf.views.proxies import Condition, ProxyView
from consul_ebpf.views.refusals import refusal

LONGEST_SECONDS = 600.0
"""That a request may wait for a condition."""

BODY_SECONDS = 10.0
"""Within which a request's body must arrive."""

MAX_BODY = 64 * 1024
"""Bytes of a body; a proxy's entry has some hundred."""


class Handlers:
    """Answers the requests of all routes.

    Args:
        host: takes the snapshots.
        registered: keeps the proxies that are registered here.
        writers: uids that may register.
        lacking: says what else is not ready yet; empty: nothing.
    """

    def __init__(
        self,
        host: Host,
        registered: RegisteredWorkloads,
        writers: frozenset[int],
        lacking: Callable[[], str] = str,
    ) -> None:
        self._host = host
        self._registered = registered
        self._writers = writers
        self._lacking = lacking
        self._bodies = Bodies(host)
        self._live = Live(host, self._bodies, writers)

    def __repr__(self) -> str:
        return f"<Handlers {self._host!r}>"

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, for aiohttp."""
        return [
            web.get("/v1/health", self.health),
            web.get("/v1/ready", self.ready),
            web.get("/v1/status", self.status),
            web.get("/v1/proxies", self.proxies),
            web.get("/v1/proxies/{id}", self.proxy),
            web.put("/v1/proxies/{id}", self.put),
            web.delete("/v1/proxies/{id}", self.delete),
            web.get("/metrics", self.metrics),
            *self._live.routes(),
        ]

    async def health(self, _: web.Request) -> web.Response:
        """Answer whether a first table is programmed."""
        ready = self._host.outcome.value is not None
        return web.json_response({"status": "ok", "ready": ready})

    async def ready(self, _: web.Request) -> web.Response:
        """Answer 200 if whoever counts on this controller can begin, else 503."""
        first = "the first round is not done yet"
        why = self._lacking() if self._host.outcome.value is not None else first
        if why:
            return refusal(503, why, ready=False)
        return web.json_response({"ready": True})

    async def status(self, _: web.Request) -> web.Response:
        """Answer with what `status --json` prints."""
        body = await self._bodies.status()
        return web.Response(body=body, content_type="application/json")

    async def metrics(self, _: web.Request) -> web.Response:
        """Answer with the metrics, in Prometheus' text format."""
        body, content_type = await self._bodies.metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def proxies(self, _: web.Request) -> web.Response:
        """Answer with all proxies."""
        body = await self._bodies.proxies()
        return web.Response(body=body, content_type="application/json")

    async def proxy(self, request: web.Request) -> web.Response:
        """Answer with one proxy; `?wait=connected&timeout=30` waits for a condition."""
        proxy_id = request.match_info["id"]
        wait = request.query.get("wait")
        if wait is None:
            found = await view(self._host, proxy_id)
            if found is None:
                return refusal(404, f"proxy {shown(proxy_id)} is not known here")
            return web.json_response(asdict(found))
        if wait not in list(Condition):
            return refusal(400, f"wait={shown(wait)}: one of {', '.join(Condition)}")
        condition = Condition(wait)
        timeout = _seconds(request.query.get("timeout", "30"))
        if timeout is None:
            return refusal(400, "timeout: must be a number of seconds")
        seen = await self._until(proxy_id, condition, timeout)
        if seen is not None and seen.holds(condition):
            return web.json_response(asdict(seen))
        why = seen.missing(condition) if seen is not None else "nobody has asked for it"
        named = f"proxy {shown(proxy_id)} is not {_WORDS[condition]}"
        known = asdict(seen) if seen is not None else None
        return refusal(504, f"{named} after {timeout:g} s: {why}", proxy=known)

    async def _until(
        self, proxy_id: str, wait: Condition, patience: float
    ) -> ProxyView | None:
        """Return the proxy once a condition holds, or as it is after `patience` s."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        host = self._host
        # A round's outcome is told; a connection must be looked for.
        follow = wait is Condition.CONNECTED
        changed = host.connections if follow else host.outcome
        with host.followed() if follow else contextlib.nullcontext():
            while True:
                version = changed.version
                seen = await view(host, proxy_id)
                left = deadline - loop.time()
                if left <= 0 or (seen is not None and seen.holds(wait)):
                    return seen
                await changed.changed_since(version, left)

    async def put(self, request: web.Request) -> web.Response:
        """Register a proxy; the body has the keys of a `[[proxies]]` entry."""
        proxy_id = request.match_info["id"]
        if (refused := await self._may_not(request, proxy_id)) is not None:
            return refused
        body = await _body(request)
        try:
            with boundary(ConfigError, "body"):
                data = msgspec.json.decode(body)
                if (
                    not isinstance(data, dict)
                    or data.setdefault("id", proxy_id) != proxy_id
                ):
                    return refusal(
                        400, "the body must be an object, with the path's id"
                    )
                entry = convert(data, ProxyEntry, "body")
            new = await self._registered.put(entry)
        except ConfigError as error:
            return refusal(400, one_line(error))
        return web.json_response({"id": proxy_id}, status=201 if new else 200)

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a proxy that was registered here."""
        proxy_id = request.match_info["id"]
        if (refused := await self._may_not(request, proxy_id)) is not None:
            return refused
        if not await self._registered.remove(proxy_id):
            return refusal(404, f"proxy {shown(proxy_id)} is not registered here")
        return web.Response(status=204)

    async def _may_not(
        self, request: web.Request, proxy_id: str
    ) -> web.Response | None:
        """Refuse clients that may not write, and proxies of another source.

        Compare the answer with None: in older versions of aiohttp an answer is an empty
        mapping, which is false.
        """
        uid = client_of(request)
        if isinstance(uid, str):
            return refusal(403, "proxies are registered over the unix socket only")
        if uid not in self._writers:
            return refusal(403, f"uid {uid} may not register proxies: see api.users")
        owner = self._host.proxies.owner(proxy_id)
        if (
            owner
            and not of_catalog(owner)
            and not await self._registered.owns(proxy_id)
        ):
            return refusal(409, not_ours(proxy_id, owner))
        return None


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY:  # before it is read
        raise web.HTTPRequestEntityTooLarge(MAX_BODY, request.content_length or 0)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError as error:
        raise ConfigError(f"the body cannot be read: {reason(error)}") from error


def _seconds(text: str) -> float | None:
    """Return a number of seconds, capped; None: the text is none, or is `nan`."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, LONGEST_SECONDS) if seconds >= 0 else None


_WORDS = {
    Condition.PROGRAMMED: "programmed",
    Condition.BOOTSTRAP: "given a bootstrap",
    Condition.CONNECTED: "connected",
}
