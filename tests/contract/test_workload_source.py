"""What every `WorkloadSource` promises, and that real changes are noticed."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.config.schema import ProxyEntry
from consul_ebpf.kubernetes.pods.join import Registration
from consul_ebpf.kubernetes.pods.kept import Change, Kept, KeptVolumes
from consul_ebpf.kubernetes.pods.proxy import Node
from consul_ebpf.kubernetes.pods.volume import Volume
from consul_ebpf.kubernetes.pods.workloads import VolumeWorkloads
from consul_ebpf.model.seams import WorkloadSource
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.catalog import CatalogNodes
from consul_ebpf.proxies.sources.directory import DirectoryWorkloads
from consul_ebpf.proxies.sources.merged import MergedWorkloads
from consul_ebpf.proxies.sources.registered import RegisteredWorkloads
from consul_ebpf.proxies.sources.static import StaticWorkloads
from consul_ebpf.testing import FakeWorkloads
from tests.lab.consul import ConsulCluster

Made = tuple[WorkloadSource, Callable[[Sequence[str]], None] | None]
"""A source with the proxies `a` and `b`, and what makes it have others."""


def static(_: Path) -> Made:
    return StaticWorkloads([ProxyEntry(id="a"), ProxyEntry(id="b")]), None


def fake(_: Path) -> Made:
    source = FakeWorkloads([Proxy("a", ""), Proxy("b", "")])
    return source, lambda ids: source.set(Proxy(id_, "") for id_ in ids)


def directory(path: Path) -> Made:
    def change(ids: Sequence[str]) -> None:
        # Renamed into place, as the documentation asks for.
        (path / ".new").write_text(files(*ids))
        (path / ".new").rename(path / "x.toml")

    change(["a", "b"])
    return DirectoryWorkloads(path), change


def merged(path: Path) -> Made:
    source, change = directory(path)
    return MergedWorkloads([source, StaticWorkloads([])]), change


def registered(path: Path) -> Made:
    source = RegisteredWorkloads(path)
    here: set[str] = {"a", "b"}
    asyncio.run(_register(path))

    async def carry_out(ids: Sequence[str]) -> None:
        for id_ in here - set(ids):
            await source.remove(id_)
        for id_ in sorted(set(ids) - here):
            await source.put(ProxyEntry(id=id_))
        here.clear()
        here.update(ids)

    def change(ids: Sequence[str]) -> None:
        CHANGES.append(asyncio.ensure_future(carry_out(ids)))

    return source, change


async def _register(path: Path) -> None:
    source = RegisteredWorkloads(path)
    await source.put(ProxyEntry(id="a"))
    await source.put(ProxyEntry(id="b"))


def volumes(path: Path) -> Made:
    kept = KeptVolumes(path)
    asyncio.run(_keep(KeptVolumes(path)))

    def change(ids: Sequence[str]) -> None:
        changes: dict[str, Change] = dict.fromkeys(kept.volumes, lambda _: None)
        changes |= {id_: partial(_kept, id_) for id_ in ids}
        kept.change_soon(changes)

    return VolumeWorkloads(kept, Latest(), Node("n1-virtual")), change


async def _keep(volumes: KeptVolumes) -> None:
    for id_ in ("a", "b"):
        await volumes.keep(_kept(id_))


def _kept(id_: str, _: Kept | None = None) -> Kept:
    volume = Volume(
        id=id_,
        target=f"/{id_}",
        namespace="default",
        pod=id_,
        uid=id_,
        service_account="default",
    )
    return Kept(volume, "/cgroup", registration=Registration(id=id_))


CHANGES: list[asyncio.Future[None]] = []
"""Under way; kept here, for the loop keeps no task."""


def files(*ids: str) -> str:
    if not ids:
        return "proxies = []"
    return "\n".join(f'[[proxies]]\nid = "{id_}"' for id_ in ids)


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1) as cluster:
        yield cluster


NODES = count(1)


def catalog(cluster: ConsulCluster) -> Made:
    node = f"host{next(NODES)}-virtual"
    here: set[str] = set()

    def change(ids: Sequence[str]) -> None:
        for id_ in here - set(ids):
            register(cluster, "deregister", {"Node": node, "ServiceID": id_})
        for id_ in set(ids) - here:
            proxy = {
                "Kind": "connect-proxy",
                "ID": id_,
                "Service": id_,
                "Port": 1,
                "Proxy": {"DestinationServiceName": "web"},
            }
            entry = {"Node": node, "Address": "127.0.0.1", "Service": proxy}
            register(cluster, "register", entry)
        here.clear()
        here.update(ids)

    change(["a", "b"])
    return CatalogNodes(cluster.http_addresses, [node]), change


def register(cluster: ConsulCluster, how: str, body: dict[str, Any]) -> None:
    cluster.call("PUT", f"/v1/catalog/{how}", body)


@pytest.fixture(
    params=[
        static,
        fake,
        directory,
        merged,
        registered,
        volumes,
        pytest.param(catalog, marks=pytest.mark.consul),
    ]
)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    if request.param.__name__ == "catalog":
        return catalog(request.getfixturevalue("cluster"))
    return cast("Callable[[Path], Made]", request.param)(tmp_path)


def watching(source: WorkloadSource) -> AsyncGenerator[tuple[Proxy, ...], None]:
    return cast("AsyncGenerator[tuple[Proxy, ...], None]", source.watch())


async def ids_from(watch: AsyncGenerator[tuple[Proxy, ...], None]) -> list[str]:
    async with asyncio.timeout(10):
        return [proxy.id for proxy in await anext(watch)]


async def seen(watch: AsyncGenerator[tuple[Proxy, ...], None], *ids: str) -> None:
    """Wait until the list is this one; lists in between may be seen or not."""
    async with asyncio.timeout(10):
        async for proxies in watch:
            if [proxy.id for proxy in proxies] == [*ids]:
                return


async def test_first_list_at_once(made: Made) -> None:
    """The first thing said is the whole list."""
    async with aclosing(watching(made[0])) as watch:
        assert await ids_from(watch) == ["a", "b"]


async def test_whole_list_after_each_change(made: Made) -> None:
    """After a change the whole list comes, an empty one too; without one, nothing."""
    source, change = made
    async with aclosing(watching(source)) as watch:
        assert await ids_from(watch) == ["a", "b"]
        if change is not None:
            change(["b", "c"])
            await seen(watch, "b", "c")
            change([])
            await seen(watch)
            change(["d"])
            await seen(watch, "d")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(watch)


async def test_watch_again(made: Made) -> None:
    """A second watch, after the first was closed, begins with the whole list."""
    for _ in range(2):
        async with aclosing(watching(made[0])) as watch:
            assert await ids_from(watch) == ["a", "b"]


async def test_cancelled_while_waiting(made: Made) -> None:
    """A watch that is cancelled at once lets go, and leaves no task behind."""
    before = asyncio.all_tasks()
    watch = watching(made[0])
    await ids_from(watch)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 2)
    await watch.aclose()
    assert asyncio.all_tasks() == before


async def test_directory_comes_later(tmp_path: Path) -> None:
    """A directory that is made later is found, at any depth, and again if replaced."""
    path = tmp_path / "one" / "two"
    async with aclosing(watching(DirectoryWorkloads(path))) as watch:
        assert await ids_from(watch) == []
        path.mkdir(parents=True)
        (path / "a.toml").write_text(files("a"))
        await seen(watch, "a")
        path.rename(tmp_path / "one" / "old")
        await seen(watch)
        path.mkdir()
        (path / "b.toml").write_text(files("b"))
        await seen(watch, "b")


async def test_config_map(tmp_path: Path) -> None:
    """A change the way kubelet makes it, by swapping a hidden link, is noticed."""

    def publish(version: str, *ids: str) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.toml").write_text(files(*ids))
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    publish("..1", "a")
    (tmp_path / "a.toml").symlink_to("..data/a.toml")
    async with aclosing(watching(DirectoryWorkloads(tmp_path))) as watch:
        assert await ids_from(watch) == ["a"]
        begun = asyncio.get_running_loop().time()
        publish("..2", "b")
        await seen(watch, "b")
        assert asyncio.get_running_loop().time() - begun < 2


async def test_bad_file_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that turns bad is logged once, and its proxies are not taken away."""
    (tmp_path / "a.toml").write_text(files("a"))
    async with aclosing(watching(DirectoryWorkloads(tmp_path))) as watch:
        assert await ids_from(watch) == ["a"]
        (tmp_path / "a.toml").write_text("nonsense")
        following = asyncio.ensure_future(seen(watch, "a", "b"))
        for _ in range(3):
            await asyncio.sleep(0.3)
            os.utime(tmp_path / "a.toml")
        (tmp_path / "b.toml").write_text(files("b"))
        await following
    warnings = [each for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "a.toml: not TOML" in warnings[0].message
