"""`/v1/catalog/node-services`: asks, and reads the answer."""

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from consul_ebpf.base.boundary import boundary
from consul_ebpf.client.blocking import LARGE
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.names import named, problems
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.precedence import catalog_owner

T = TypeVar("T")

KINDS = (
    "connect-proxy",
    "api-gateway",
    "ingress-gateway",
    "mesh-gateway",
    "terminating-gateway",
)
"""Kinds of services that have an Envoy."""


class _Destination(msgspec.Struct, frozen=True, rename="pascal"):
    destination_service_name: str = ""


class Service(msgspec.Struct, frozen=True, rename="pascal"):
    """The fields we use of a service. Only Enterprise sends namespace and partition."""

    id: str = msgspec.field(name="ID")
    kind: str = ""
    proxy: _Destination | None = None
    namespace: str = ""
    partition: str = ""
    meta: dict[str, str] | None = None

    @property
    def destination(self) -> str:
        """The service that it is a proxy of; empty: it is a gateway."""
        return self.proxy.destination_service_name if self.proxy else ""

    def to_proxy(self, node: str, *, key: str = "") -> Proxy:
        """Return it as a proxy of a catalog node; the `key` is its id by default."""
        return Proxy(
            id=self.id,
            node=node,
            namespace=self.namespace or "default",
            partition=self.partition or "default",
            service=self.destination,
            owner=catalog_owner(node),
            key=key,
        )


class _Node(msgspec.Struct, frozen=True, rename="pascal"):
    node: dict[str, Any] | None
    services: list[Any] | None


Found = tuple[tuple[Proxy, ...], tuple[str, ...]]
"""The proxies, and a line for each entry that was skipped."""

Read = Callable[[bytes, bool], T]
"""Reads an answer's body; the second argument says whether ACLs hid something."""


async def query(
    consul: ConsulHttp, node: str, index: int | None, wait: str
) -> tuple[str, Found | None]:
    """Ask for a node's proxies, not for its other services."""
    return await ask(consul, node, index, wait, read=partial(proxies_in, node=node))


async def ask(
    consul: ConsulHttp,
    node: str,
    index: int | None,
    wait: str,
    *,
    read: Read[T],
    params: Sequence[tuple[str, str]] = (),
) -> tuple[str, T]:
    """Ask for a node's services that have an Envoy, with more `params`."""
    kinds = " or ".join(f'Kind == "{kind}"' for kind in KINDS)
    path = f"/v1/catalog/node-services/{node}"
    filtered = [("filter", kinds), *params]
    answer = await consul.read(path, index=index, wait=wait, params=filtered)
    with boundary(ConsulError, f"the services of node {node}"):
        large = len(answer.body) > LARGE
        read_it = partial(read, answer.body, answer.filtered)
        found = await asyncio.to_thread(read_it) if large else read_it()
    return answer.index, found


def proxies_in(body: bytes, filtered: bool, *, node: str) -> Found | None:
    """Read the catalog's answer: the proxies, and a line for each one skipped.

    Takes and raises what `services_in` does. Returns None if the answer is without the
    node: it is gone, or hidden by ACLs.
    """
    answer = services_in(body, filtered, node=node)
    if answer is None:
        return None
    services, skipped = answer
    proxies: list[Proxy] = []
    for service in services:
        proxy = service.to_proxy(node)
        wrong = [f"{field} {why}" for field, why in problems(proxy)]
        if wrong:
            skipped.append(f"{named(proxy)} skipped: {wrong[0]}")
        else:
            proxies.append(proxy)
    return tuple(sorted(proxies, key=lambda proxy: proxy.id)), tuple(skipped)


def services_in(
    body: bytes, filtered: bool, *, node: str
) -> tuple[list[Service], list[str]] | None:
    """Read the catalog's answer: services with an Envoy, a line for each one skipped.

    Returns None if the answer is without the node: it is gone, or hidden by ACLs.

    Args:
        body: JSON.
        filtered: whether the answer says that ACLs hid something.
        node: the node's name.

    Raises:
        ConsulError: ACLs hid everything.
        ValueError: the answer is not JSON, or not what was asked for.
    """
    # Not msgspec's decoder: a lone surrogate in one entry would cost all of them.
    answer = msgspec.convert(json.loads(body), _Node)
    if answer.node is None:
        return None
    if filtered and not answer.services:
        raise ConsulError(
            f"the ACL token may see no service of node {node}; it needs service:read"
        )
    services: list[Service] = []
    skipped: list[str] = []
    for number, item in enumerate(answer.services or ()):
        try:
            service = msgspec.convert(item, Service)
        except msgspec.ValidationError as error:
            skipped.append(f"service {number} of node {node} skipped: {error}")
            continue
        if service.kind in KINDS:
            services.append(service)
    return services, skipped
