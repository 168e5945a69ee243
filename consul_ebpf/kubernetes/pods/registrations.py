"""Watches the registrations of this node's pods: one blocking query for all of them."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.client.blocking import WAIT_SECONDS, watch_query
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.client.token import TokenSource, no_token
from consul_ebpf.client.transport import Https
from consul_ebpf.kubernetes.pods.join import Registration
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.names import problems, shown
from consul_ebpf.proxies.sources.node_services import Service, ask, services_in

logger = logging.getLogger(__name__)

HTTP_BAD_REQUEST = 400

ALL_NAMESPACES = ("ns", "*")

Answer = tuple[tuple[Registration, ...], tuple[str, ...]]
"""The registrations, and a line for each that was skipped."""


class Registrations:
    """Follows the services with an Envoy that are registered on one catalog node.

    The node need not exist: consul-k8s makes it with the first pod's registration, and
    may remove it with the last one.
    """

    def __init__(
        self,
        http_addresses: Sequence[str],
        node: str,
        *,
        datacenter: str = "",
        token: TokenSource | None = None,
        https: Https | None = None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        """Ask `http_addresses` in turn for the services of `node`.

        Args:
            http_addresses: `http[s]://host:port` of agents or servers.
            node: name of the catalog node.
            datacenter: empty for the datacenter of the agent that answers.
            token: needs node:read on the node and service:read on the proxies.
            https: how to verify https addresses; None: by the system's certificates.
            wait: seconds that a query blocks when nothing changes.
        """
        self._addresses = tuple(http_addresses)
        self._node = node
        self._datacenter = datacenter
        self._token = token or no_token
        self._https = https
        self._wait = wait
        self._namespaces = True
        """Whether the servers may know namespaces, as only Enterprise does."""

    def __repr__(self) -> str:
        return f"<Registrations of {self._node}>"

    async def watch(self) -> AsyncIterator[tuple[Registration, ...]]:
        """Yield all registrations once they are known and after each change, for ever.

        An answer that is wrong or hidden by ACLs takes none away.
        """
        reasons = Reasons(logger, "source_failed")
        answers = watch_query(
            self._addresses,
            self._query,
            lambda found: found,
            what=f"the pods registered on catalog node {self._node}",
            datacenter=self._datacenter,
            token=self._token,
            https=self._https,
            wait=self._wait,
        )
        async with aclosing(answers):
            async for registrations, skipped in answers:
                reasons.report(skipped)
                yield registrations

    async def _query(
        self, consul: ConsulHttp, index: int | None, wait: str
    ) -> tuple[str, Answer]:
        """Ask once: on Enterprise for the services of all namespaces."""
        asked = partial(
            ask,
            consul,
            self._node,
            index,
            wait,
            read=partial(registrations_in, node=self._node),
        )
        if self._namespaces:
            try:
                return await asked(params=[ALL_NAMESPACES])
            except ConsulError as error:
                if error.status != HTTP_BAD_REQUEST:
                    raise
                self._namespaces = False
        return await asked()


def registrations_in(body: bytes, filtered: bool, *, node: str) -> Answer:
    """Read the catalog's answer; no answer for the node means no registrations.

    Raises:
        ConsulError: ACLs hid the node or everything on it.
        ValueError: the answer is not JSON, or not what was asked for.
    """
    found = services_in(body, filtered, node=node)
    if found is None:
        if filtered:
            raise ConsulError(
                f"the ACL token may not see node {node}; it needs node:read"
            )
        return (), ()
    services, skipped = found
    registrations = []
    for service in services:
        # As a proxy in a pod: with a key of its own, so that the id names no directory.
        wrong = [why for _, why in problems(service.to_proxy(node, key="pod"))]
        if wrong:
            skipped.append(
                f"service {shown(service.id)} of node {node} skipped: {wrong[0]}"
            )
        elif service.id:
            registrations.append(_registration(service))
    registrations.sort(key=lambda each: (each.id, each.namespace))
    return tuple(registrations), tuple(skipped)


def _registration(service: Service) -> Registration:
    meta = service.meta or {}
    return Registration(
        id=service.id,
        kind=service.kind,
        destination=service.destination,
        namespace=service.namespace or "default",
        partition=service.partition or "default",
        pod=meta.get("pod-name", ""),
        pod_namespace=meta.get("k8s-namespace", ""),
        pod_uid=meta.get("pod-uid", ""),
        kubernetes_service=meta.get("k8s-service-name", ""),
    )
