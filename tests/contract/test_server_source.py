"""What every `ServerSource` does: the fake, the static one, the catalog's."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.config.seeds import Name
from consul_ebpf.model.seams import ServerSource
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources.catalog import CatalogSource
from consul_ebpf.servers.sources.names import Resolver, ResolvingSource
from consul_ebpf.servers.sources.static import StaticSource
from consul_ebpf.servers.sources.union import Found
from consul_ebpf.servers.sources.watch import WatchSource
from consul_ebpf.testing import FakeServerSource
from tests.lab.consul import ConsulCluster

KINDS = [
    "fake",
    "static",
    "dns",
    "exec",
    pytest.param("catalog", marks=pytest.mark.consul),
    pytest.param("watch", marks=pytest.mark.consul),
]


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1) as cluster:
        yield cluster


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest) -> ServerSource:
    """A source of exactly one server."""
    match request.param:
        case "fake":
            return FakeServerSource([Server.at("10.0.0.1", 8502)])
        case "static":
            return StaticSource(["10.0.0.1"])
        case "dns":
            return ResolvingSource(Resolver(["ip4-only.localhost"], 8502, 60, one))
        case "exec":
            return ResolvingSource(Resolver(["exec=echo 10.0.0.1"], 8502, 60))
    cluster: ConsulCluster = request.getfixturevalue("cluster")
    if request.param == "watch":
        resolver = Resolver(cluster.addresses, 8502, 60)
        return WatchSource(resolver, insecure_channel)
    return CatalogSource(cluster.http_addresses)


async def one(_: Name, refresh: float) -> Found:
    return Found((Server.at("10.0.0.1", 8502),), refresh)


@asynccontextmanager
async def watching(source: ServerSource) -> AsyncIterator[list[tuple[Server, ...]]]:
    """Collect what the source yields, in a task that is cancelled at the end."""
    lists: list[tuple[Server, ...]] = []

    async def collect() -> None:
        async for servers in source.watch():
            lists.append(servers)  # noqa: PERF401 # as they come

    task = asyncio.create_task(collect())
    try:
        yield lists
    finally:
        assert not task.done()  # it never ends by itself
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def first(lists: list[tuple[Server, ...]]) -> tuple[Server, ...]:
    async with asyncio.timeout(10):
        while not lists:
            await asyncio.sleep(0.01)
    return lists[0]


async def test_the_whole_list_comes_at_once(source: ServerSource) -> None:
    """With usable servers in it."""
    async with watching(source) as lists:
        (server,) = await first(lists)
    assert server.id
    assert server.endpoint.endswith(":8502")


async def test_each_watch_starts_from_the_whole_list(source: ServerSource) -> None:
    """One after another, and two at the same time."""
    async with watching(source) as one, watching(source) as other:
        assert await first(one) == await first(other)
    async with watching(source) as again:
        assert await first(again) == one[0]


async def test_it_goes_on_for_ever(source: ServerSource) -> None:
    """Without a change there is nothing new, and no end."""
    async with watching(source) as lists:
        await first(lists)
        await asyncio.sleep(0.5)
        assert 1 == len(set(lists))


async def test_its_repr_says_where_it_looks(source: ServerSource) -> None:
    """For the log line of somebody at 3 a.m."""
    assert type(source).__name__ in repr(source)
