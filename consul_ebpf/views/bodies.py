"""What the endpoint answers of the whole host: made once for all who ask."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from consul_ebpf.controller.outcomes import Outcome, Served
from consul_ebpf.model.values import Proxy
from consul_ebpf.views.fresh import Fresh
from consul_ebpf.views.host import Host
from consul_ebpf.views.metrics.text import text
from consul_ebpf.views.proxies import ProxyView, proxy_view
from consul_ebpf.views.snapshot import Snapshot
from consul_ebpf.views.status import status_of

LIST_SECONDS = 0.25
"""That a list of all proxies is used for: there may be thousands."""


class Bodies:
    """The bodies of answers that do not depend on who asks.

    `status`, `proxies` and `metrics` raise a `ConsulEbpfError` where the kernel cannot
    be looked at.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.status = Fresh("the status", self._status)
        self.proxies = Fresh(
            "the list of proxies",
            self._proxies,
            LIST_SECONDS,
            version=lambda: host.outcomes.version,
        )
        self.metrics = Fresh("the metrics", self._metrics)

    def __repr__(self) -> str:
        return f"<Bodies {self._host!r}>"

    async def _status(self) -> bytes:
        """Return what `status --json` prints."""
        snapshot = await self._host.snapshot()
        return await asyncio.to_thread(
            lambda: json.dumps(status_of(snapshot).to_json()).encode()
        )

    async def _proxies(self) -> bytes:
        """Return all proxies, by their keys."""
        seen = await _views(self._host, sorted(self._host.proxies.outcomes))
        return await asyncio.to_thread(
            lambda: json.dumps([asdict(each) for each in seen]).encode()
        )

    async def _metrics(self) -> tuple[bytes, str]:
        """Return the metrics and their content type."""
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
    """Return all programmed proxies, by name."""
    names = snapshot.remembered.names
    found = {}
    for vip in snapshot.grpc.tables.vips:
        name = names[vip][0] if vip in names else ""
        outcome = snapshot.inside.proxies.find(name)
        if isinstance(outcome, Served):
            found[name] = outcome.placed.proxy
        elif name:  # of one that no source names now
            found[name] = Proxy(name, node="")
    return found
