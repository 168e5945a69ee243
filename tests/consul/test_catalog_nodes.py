"""`CatalogNodes` against a real Consul: what takes a proxy away, and what does not."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Self, cast

import pytest

from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.catalog import CatalogNodes
from consul_ebpf.proxies.sources.merged import MergedWorkloads
from consul_ebpf.testing import FakeWorkloads
from tests.lab.consul import ConsulCluster

pytestmark = pytest.mark.consul


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        yield cluster


@pytest.fixture
def node(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}-virtual".replace("_", "-")


class Token:
    """A token that can be lost."""

    def __init__(self, secret: str) -> None:
        self.secret: str | None = secret

    def __call__(self) -> str | None:
        return self.secret


def source(cluster: ConsulCluster, *nodes: str, **more: Any) -> CatalogNodes:
    more.setdefault("token", Token(cluster.management_token))
    return CatalogNodes(cluster.http_addresses, nodes, wait=1, **more)


class Watch:
    """A watch that can be waited for in vain and goes on."""

    def __init__(self, source: CatalogNodes) -> None:
        self._values = aiter(source.watch())
        self._next: asyncio.Future[tuple[Proxy, ...]] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        await cast("AsyncGenerator[object, None]", self._values).aclose()

    async def next(self, within: float = 10) -> tuple[Proxy, ...]:
        self._next = self._next or asyncio.ensure_future(anext(self._values))
        async with asyncio.timeout(within):
            proxies = await asyncio.shield(self._next)
        self._next = None
        return proxies

    async def ids(self, within: float = 10) -> list[str]:
        return [proxy.id for proxy in await self.next(within)]

    async def stays(self) -> None:
        """Nothing is yielded for a while that several answers fit into."""
        with pytest.raises(TimeoutError):
            await self.next(within=3)


async def test_proxies_of_nodes(cluster: ConsulCluster, node: str) -> None:
    """The proxies of all nodes, node by node, with service, node and owner."""
    cluster.register_proxy("web", node=node)
    cluster.register_proxy("api", node=f"{node}-2")
    async with Watch(source(cluster, f"{node}-2", node)) as watch:
        assert await watch.next() == (
            Proxy(
                "api-sidecar-proxy",
                f"{node}-2",
                service="api",
                owner=f"catalog node {node}-2",
            ),
            Proxy(
                "web-sidecar-proxy", node, service="web", owner=f"catalog node {node}"
            ),
        )


async def test_true_changes(cluster: ConsulCluster, node: str) -> None:
    """Registering and deregistering shows at once, the last proxy's end too."""
    cluster.register_proxy("a", node=node)
    async with Watch(source(cluster, node)) as watch:
        assert await watch.ids() == ["a-sidecar-proxy"]
        cluster.register_proxy("b", node=node)
        assert await watch.ids(within=2) == ["a-sidecar-proxy", "b-sidecar-proxy"]
        cluster.deregister("a", node=node)
        assert await watch.ids(within=2) == ["b-sidecar-proxy"]
        cluster.deregister("b", node=node)
        assert await watch.ids(within=2) == []


async def test_node_comes_later(
    cluster: ConsulCluster, node: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that Consul does not know has no proxies, and is seen when it comes."""
    async with Watch(source(cluster, node)) as watch:
        assert await watch.ids() == []
        await watch.stays()
        cluster.register_proxy("a", node=node)
        ids = await watch.ids(within=2)
        if not ids:  # the node alone was there first: nothing is lacking any more
            ids = await watch.ids(within=2)
        assert ids == ["a-sidecar-proxy"]
    assert caplog.text.count("is not in the catalog, or the ACL token lacks") == 1


async def test_node_gone(
    cluster: ConsulCluster, node: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that disappears keeps its proxies until it is there without them."""
    cluster.register_proxy("a", node=node)
    async with Watch(source(cluster, node)) as watch:
        assert await watch.ids() == ["a-sidecar-proxy"]
        cluster.call("PUT", "/v1/catalog/deregister", {"Node": node})
        await watch.stays()
        assert caplog.text.count("; keeping its 1 proxies") == 1
        cluster.call(
            "PUT", "/v1/catalog/register", {"Node": node, "Address": "127.0.0.1"}
        )
        assert await watch.ids() == []


async def test_fault_15_token_lost(cluster: ConsulCluster, node: str) -> None:
    """A token lost or refused takes no proxy away; found again, it works."""
    cluster.register_proxy("a", node=node)
    token = Token(cluster.management_token)
    async with Watch(source(cluster, node, token=token)) as watch:
        assert await watch.ids() == ["a-sidecar-proxy"]
        token.secret = None
        await watch.stays()
        token.secret = "00000000-0000-0000-0000-000000000000"
        await watch.stays()
        token.secret = cluster.management_token
        cluster.register_proxy("b", node=node)
        assert await watch.ids() == ["a-sidecar-proxy", "b-sidecar-proxy"]


async def test_services_hidden(
    cluster: ConsulCluster, node: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that sees the node but not its services takes no proxy away."""
    cluster.register_proxy("a", node=node)
    rules = {"Name": node, "Rules": 'node_prefix "" { policy = "read" }'}
    cluster.call("PUT", "/v1/acl/policy", rules)
    body = {"Policies": [{"Name": node}]}
    half = cluster.call("PUT", "/v1/acl/token", body)["SecretID"]
    token = Token(cluster.management_token)
    async with Watch(source(cluster, node, token=token)) as watch:
        assert await watch.ids() == ["a-sidecar-proxy"]
        token.secret = half
        await watch.stays()
    assert caplog.text.count("it needs service:read") == 1
    assert half not in caplog.text


async def test_remembered(cluster: ConsulCluster, node: str, tmp_path: Path) -> None:
    """Without Consul the last known proxies are there at once, for those nodes only."""
    cluster.register_proxy("a", node=node)
    cluster.register_proxy("b", node=f"{node}-2")
    nodes = (node, f"{node}-2")
    async with Watch(source(cluster, *nodes, directory=tmp_path)) as watch:
        first = await watch.next()
    assert len(first) == 2
    nobody = ["http://127.0.9.254:1"]
    for asked, expected in ((nodes, first), (nodes[:1], first[:1])):
        alone = CatalogNodes(nobody, asked, directory=tmp_path)
        async with Watch(alone) as watch:
            assert await watch.next(within=2) == expected
    async with Watch(source(cluster, *nodes, directory=tmp_path)) as watch:
        assert await watch.next() == first
        cluster.deregister("b", node=nodes[1])
        while (told := await watch.next()) == first:
            pass  # told again when Consul has answered: then nothing is lacking
        assert [proxy.id for proxy in told] == ["a-sidecar-proxy"]


async def test_no_consul_does_not_hold_up_others() -> None:
    """Proxies from elsewhere are served though Consul never answered."""
    here = FakeWorkloads([Proxy("a", "")])
    away = CatalogNodes(["http://127.0.9.254:1"], ["n"])
    merged = MergedWorkloads([here, away], patience=1)
    async with asyncio.timeout(5):
        assert await anext(aiter(merged.watch())) == (Proxy("a", ""),)
