"""The endpoint's answers about the whole host, made once for all who ask."""

import asyncio
import json
import math
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from consul_ebpf.controller.outcomes import Outcome, Served
from consul_ebpf.model.values import Proxy
from consul_ebpf.views.cache import Cached
from consul_ebpf.views.host import Host
from consul_ebpf.views.page import main_of
from consul_ebpf.views.proxies import ProxyView, proxy_view
from consul_ebpf.views.rates import Rates
from consul_ebpf.views.snapshot import Snapshot
from consul_ebpf.views.status import status_of
from consul_ebpf.views.verdict import judged

T = TypeVar("T")


class Bodies:
    """The bodies of answers that are the same for everybody, made once of a snapshot.

    All methods raise a `ConsulEbpfError` if the kernel cannot be read.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._statuses = self._cached("the status", self._status)
        self._lists = self._cached("the list of proxies", self._proxies)
        self._scrapes = self._cached("the metrics", self._metrics)
        self._pictures = self._cached("the page", self._picture)
        self._rates = Rates()

    def __repr__(self) -> str:
        return f"<Bodies {self._host!r}>"

    async def status(self) -> bytes:
        """Return the JSON object that `status --json` prints."""
        return await self._newest(self._statuses)

    async def proxies(self) -> bytes:
        """Return a JSON array of all proxies, in the order of their keys."""
        return await self._newest(self._lists)

    async def metrics(self) -> tuple[bytes, str]:
        """Return the metrics as text, and its content type."""
        return await self._newest(self._scrapes)

    async def picture(self) -> str:
        """Return what changes of the page for people: its `main` element."""
        return await self._newest(self._pictures)

    def _cached(self, what: str, make: Callable[[], Awaitable[T]]) -> Cached[T]:
        return Cached(what, make, math.inf, version=lambda: self._host.taken)

    async def _newest(self, bodies: Cached[T]) -> T:
        await self._host.snapshot()
        return await bodies.get()

    async def _status(self) -> bytes:
        snapshot = await self._host.snapshot()
        return await asyncio.to_thread(
            lambda: json.dumps(judged(status_of(snapshot)).to_json()).encode()
        )

    async def _proxies(self) -> bytes:
        seen = await _views(self._host, sorted(self._host.proxies.outcomes))
        return await asyncio.to_thread(
            lambda: json.dumps(msgspec.to_builtins(seen)).encode()
        )

    async def _picture(self) -> str:
        snapshot = await self._host.snapshot()
        status = await asyncio.to_thread(lambda: judged(status_of(snapshot)))
        rates = self._rates.add(snapshot.monotonic, status.servers)
        return await asyncio.to_thread(main_of, status, socket.gethostname(), rates)

    async def _metrics(self) -> tuple[bytes, str]:
        # 2 MB of memory, which a host that nobody scrapes does not need.
        from consul_ebpf.views.metrics.text import text  # noqa: PLC0415

        snapshot = await self._host.snapshot()
        there = await self._host.bootstraps(_named(snapshot))
        written = {name: each.written for name, each in there.items()}
        return await asyncio.to_thread(text, snapshot, written)


async def view(host: Host, name: str) -> ProxyView | None:
    """Return the proxy with this key or id; None: it is unknown."""
    if host.proxies.find(name) is None:
        return None
    seen = await _views(host, [host.proxies.key(name)])
    return seen[0] if seen else None


async def _views(host: Host, keys: Iterable[str]) -> list[ProxyView]:
    snapshot = await host.snapshot()
    all_ = snapshot.inside.proxies.outcomes
    known = {key: all_[key] for key in keys if key in all_}
    there = await host.bootstraps(_written(known))
    return [
        proxy_view(snapshot, key, outcome, there[key].path if key in there else None)
        for key, outcome in known.items()
    ]


def _written(outcomes: Mapping[str, Outcome]) -> dict[str, Proxy]:
    """Return the proxies whose bootstraps a round has written, by key."""
    return {
        key: each.placed.proxy
        for key, each in outcomes.items()
        if isinstance(each, Served) and each.bootstrap
    }


def _named(snapshot: Snapshot) -> dict[str, Proxy]:
    """Return all programmed proxies whose names are known, by name."""
    names = snapshot.remembered.names
    found = {}
    for vip in snapshot.grpc.tables.vips:
        name = names[vip][0] if vip in names else ""
        outcome = snapshot.inside.proxies.find(name)
        if isinstance(outcome, Served):
            found[name] = outcome.placed.proxy
        elif name:  # a proxy that no source names any more
            found[name] = Proxy(name, node="")
    return found
