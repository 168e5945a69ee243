"""Watches the connect proxies registered on given nodes of Consul's catalog."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

import msgspec

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.client.blocking import WAIT_SECONDS, watch_query
from consul_ebpf.client.token import TokenSource, no_token
from consul_ebpf.client.transport import Https
from consul_ebpf.model import names
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.following import newest_of
from consul_ebpf.proxies.sources.node_services import query
from consul_ebpf.proxies.sources.precedence import catalog_owner

logger = logging.getLogger(__name__)

PROXIES_FILE = "proxies.json"

PATIENCE_SECONDS = 5.0
"""Seconds after which remembered nodes stop waiting for a node without an answer."""


class CatalogNodes:
    """A `WorkloadSource` of the proxies that Consul has on the given nodes.

    It has the seam `Lacks`. An error, or an answer without the node, removes no proxy:
    a token that lost its rights gets the same answer as for a node that is gone. Only a
    node that is there, without proxies, has none.
    """

    def __init__(
        self,
        http_addresses: Sequence[str],
        nodes: Sequence[str],
        *,
        datacenter: str = "",
        token: TokenSource | None = None,
        https: Https | None = None,
        directory: Path | None = None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        """Ask `http_addresses` in turn for the services of each of `nodes`.

        Args:
            http_addresses: `http[s]://host:port` of agents or servers.
            nodes: names of catalog nodes.
            datacenter: empty for the datacenter of the agent that answers.
            token: needs node:read on the nodes and service:read on the proxies.
            https: how to verify https addresses; None: by the system's certificates.
            directory: where the last known proxies are kept for a start while Consul is
                away; None: nowhere.
            wait: seconds that a query blocks when nothing changes.
        """
        self._addresses = tuple(http_addresses)
        self._nodes = tuple(dict.fromkeys(nodes))
        self._datacenter = datacenter
        self._token = token or no_token
        self._https = https
        self._wait = wait
        self._values: dict[str, tuple[Proxy, ...]] = {}
        """What is known of each node."""
        self._lacking = {
            node: f"catalog node {node}: Consul has not told of it yet"
            for node in self._nodes
        }
        self._file = JsonFile(directory / PROXIES_FILE, _Known) if directory else None

    def __repr__(self) -> str:
        return f"<CatalogNodes {', '.join(self._nodes)}>"

    @property
    def lacking(self) -> tuple[str, ...]:
        """One line for each node without an answer from Consul since the start."""
        return tuple(self._lacking.values())

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list at once and again after each change, for ever.

        The first list may be the remembered one. A change of `lacking` counts as a
        change.
        """
        known = await asyncio.to_thread(self._file.load) if self._file else None
        for node, records in (known or {}).items():
            self._values.setdefault(node, _to_proxies(records, node))
        streams = {
            catalog_owner(node): partial(self._watch_node, node) for node in self._nodes
        }
        last: tuple[tuple[Proxy, ...], tuple[str, ...]] | None = None
        async with aclosing(newest_of(streams, patience=PATIENCE_SECONDS)) as newest:
            async for values in newest:
                proxies = tuple(proxy for value in values.values() for proxy in value)
                now = proxies, self.lacking
                if now != last:
                    if last is None or proxies != last[0]:
                        await self._remember(proxies)
                    last = now
                    yield proxies

    async def _watch_node(self, node: str) -> AsyncGenerator[tuple[Proxy, ...], None]:
        if node in self._values:
            yield self._values[node]
        problems = Reasons(logger, "source_failed")
        answers = watch_query(
            self._addresses,
            lambda consul, index, wait: query(consul, node, index, wait),
            lambda found: found,
            what=f"the proxies of catalog node {node}",
            datacenter=self._datacenter,
            token=self._token,
            https=self._https,
            wait=self._wait,
        )
        async with aclosing(answers):
            async for answer in answers:
                if answer is None:
                    missing = (
                        f"catalog node {node} is not in the catalog, or the ACL token"
                        " lacks node:read on it"
                    )
                    count = len(self._values.get(node, ()))
                    if count:
                        missing = f"{missing}; keeping its {count} proxies"
                    problems.report([missing])
                    if node in self._values:
                        self._lacking.pop(node, None)
                    else:
                        self._lacking[node] = missing
                    yield self._values.get(node, ())
                else:
                    proxies, skipped = answer
                    problems.report(skipped)
                    self._lacking.pop(node, None)
                    self._values[node] = proxies
                    yield proxies

    async def _remember(self, proxies: tuple[Proxy, ...]) -> None:
        if self._file is None:
            return
        known: _Known = {}
        for proxy in proxies:
            known.setdefault(proxy.node, []).append(
                _Record(proxy.id, proxy.namespace, proxy.partition, proxy.service)
            )
        await asyncio.to_thread(self._file.save, known)


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A remembered proxy."""

    id: str
    namespace: str
    partition: str
    service: str

    def to_proxy(self, node: str, owner: str) -> Proxy:
        return Proxy(
            id=self.id,
            node=node,
            namespace=self.namespace,
            partition=self.partition,
            service=self.service,
            owner=owner,
        )


def _to_proxies(records: Sequence[_Record], node: str) -> tuple[Proxy, ...]:
    """Return a node's remembered proxies, without those that cannot be used."""
    proxies = (record.to_proxy(node, catalog_owner(node)) for record in records)
    return tuple(proxy for proxy in proxies if not names.problems(proxy))


_Known = dict[str, list[_Record]]
