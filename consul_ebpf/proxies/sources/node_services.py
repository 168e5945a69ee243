"""`/v1/catalog/node-services`: asks, and reads the answer."""

import asyncio
import json
from functools import partial
from typing import Any

import msgspec

from consul_ebpf.base.boundary import boundary
from consul_ebpf.client.blocking import LARGE
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.names import named, problems
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.precedence import catalog_owner

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


class _Service(msgspec.Struct, frozen=True, rename="pascal"):
    """The fields we use of a service. Only Enterprise sends namespace and partition."""

    id: str = msgspec.field(name="ID")
    kind: str = ""
    proxy: _Destination | None = None
    namespace: str = ""
    partition: str = ""


class _Node(msgspec.Struct, frozen=True, rename="pascal"):
    node: dict[str, Any] | None
    services: list[Any] | None


Found = tuple[tuple[Proxy, ...], tuple[str, ...]]
"""The proxies, and a line for each entry that was skipped."""


async def query(
    consul: ConsulHttp, node: str, index: int | None, wait: str
) -> tuple[str, Found | None]:
    """Ask for a node's proxies, not for its other services."""
    kinds = " or ".join(f'Kind == "{kind}"' for kind in KINDS)
    path = f"/v1/catalog/node-services/{node}"
    params = [("filter", kinds)]
    answer = await consul.read(path, index=index, wait=wait, params=params)
    read = partial(proxies_in, answer.body, answer.filtered, node=node)
    with boundary(ConsulError, f"the services of node {node}"):
        large = len(answer.body) > LARGE
        found = await asyncio.to_thread(read) if large else read()
    return answer.index, found


def proxies_in(body: bytes, filtered: bool, *, node: str) -> Found | None:
    """Read the catalog's answer: the proxies, and a line for each one skipped.

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
    owner = catalog_owner(node)
    proxies: list[Proxy] = []
    skipped: list[str] = []
    for number, item in enumerate(answer.services or ()):
        try:
            service = msgspec.convert(item, _Service)
        except msgspec.ValidationError as error:
            skipped.append(f"service {number} of node {node} skipped: {error}")
            continue
        if service.kind not in KINDS:
            continue
        proxy = Proxy(
            id=service.id,
            node=node,
            namespace=service.namespace or "default",
            partition=service.partition or "default",
            service=service.proxy.destination_service_name if service.proxy else "",
            owner=owner,
        )
        wrong = [f"{field} {why}" for field, why in problems(proxy)]
        if wrong:
            skipped.append(f"{named(proxy)} skipped: {wrong[0]}")
        else:
            proxies.append(proxy)
    return tuple(sorted(proxies, key=lambda proxy: proxy.id)), tuple(skipped)
