"""`Registrations` against a real Consul, as consul-k8s writes pods into its catalog."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

from consul_ebpf.kubernetes.pods.registrations import Registrations
from tests.lab.consul import ConsulCluster

pytestmark = pytest.mark.consul

NODE = "n1-virtual"


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        yield cluster


def register(cluster: ConsulCluster, pod: str) -> str:
    """Register a pod's proxy, with the metas that consul-k8s writes."""
    proxy = f"{pod}-web-sidecar-proxy"
    service = {
        "Kind": "connect-proxy",
        "ID": proxy,
        "Service": "web-sidecar-proxy",
        "Port": 20000,
        "Proxy": {"DestinationServiceName": "web"},
        "Meta": {"pod-name": pod, "k8s-namespace": "shop", "pod-uid": "u"},
    }
    body = {"Node": NODE, "Address": "10.0.0.9", "Service": service}
    cluster.call("PUT", "/v1/catalog/register", body)
    return proxy


async def test_registrations_come_and_go(cluster: ConsulCluster) -> None:
    """From a node that is not there yet to one that is there no more.

    This Consul is no Enterprise: it refuses the question about all namespaces.
    """
    source = Registrations(
        cluster.http_addresses, NODE, token=lambda: cluster.management_token, wait=5
    )
    pod = "w" * 253
    async with aclosing(cast("Any", source.watch())) as answers:

        async def newest(ids: list[str]) -> Any:
            async with asyncio.timeout(20):
                while True:
                    found = await anext(answers)
                    if ids == [each.id for each in found]:
                        return found

        await newest([])
        long, short = register(cluster, pod), register(cluster, "a-1")
        one, other = await newest([short, long])
        assert ("a-1", "shop", "u", "web") == (
            one.pod,
            one.pod_namespace,
            one.pod_uid,
            one.destination,
        )
        assert pod == other.pod
        cluster.call("PUT", "/v1/catalog/deregister", {"Node": NODE})
        await newest([])


async def test_a_token_without_rights_takes_nothing_away(
    cluster: ConsulCluster,
) -> None:
    """What ACLs hide is no answer: pods that run must not look as if they ended."""
    register(cluster, "b-1")
    token = cluster.call("PUT", "/v1/acl/token", {"Description": "no rights"})
    source = Registrations(
        cluster.http_addresses, NODE, token=lambda: token["SecretID"], wait=1
    )

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3), aclosing(cast("Any", source.watch())) as found:
            await anext(found)
