"""Which proxies there are, and whose VIP is whose. Time is virtual."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.following import BindingFollower, ProxyFollower
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.model.values import HostProxies, Proxy, ProxyFiles
from consul_ebpf.testing import FakeNamespaces
from tests.lab.serving import API, JOB, WEB, Host, Lacking

pytestmark = pytest.mark.looptime(start=0)


@asynccontextmanager
async def following(
    source: Lacking, namespaces: Namespaces | None = None
) -> AsyncIterator[Cells]:
    cells = Cells()
    bindings = BindingFollower(namespaces, cells.proxies, cells.bindings)
    tasks = [
        asyncio.create_task(part.run())
        for part in (ProxyFollower(source, cells.named, cells.proxies), bindings)
    ]
    try:
        yield cells
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_nothing_is_known_before_the_source_has_answered() -> None:
    """Whatever it lacks: it may name any proxy yet."""
    source = Lacking()
    source.lacking = ("a.toml cannot be read",)
    async with following(source) as cells:
        await asyncio.sleep(60)
        assert cells.proxies.value is None
        assert cells.bindings.value is None


async def test_a_pods_proxy_goes_whatever_another_source_lacks() -> None:
    """Kubelet waits for its volume to be removed."""
    source = Lacking()
    pod = replace(JOB, files=ProxyFiles("/volume", exists_already=True))
    async with following(source) as cells:
        cells.named.set((WEB, pod))
        await asyncio.sleep(1)
        source.lacking = ("Consul does not answer",)
        cells.named.set(())
        await asyncio.sleep(1)
        assert cells.proxies.value == HostProxies((WEB,), source.lacking)


async def test_what_was_named_before_is_kept_while_something_is_lacking() -> None:
    """And goes within seconds when nothing is, though the list is the same."""
    source = Lacking()
    async with following(source) as cells:
        cells.named.set((WEB, API))
        await asyncio.sleep(1)
        assert cells.proxies.value == HostProxies((WEB, API))
        source.lacking = ("api.toml cannot be read",)
        cells.named.set((WEB, JOB))
        await asyncio.sleep(60)
        assert cells.proxies.value == HostProxies((WEB, JOB, API), source.lacking)
        source.lacking = ()
        await asyncio.sleep(3)
        assert cells.proxies.value == HostProxies((WEB, JOB))


async def test_fault_81_what_a_source_lacks_for_a_while_stays(tmp_path: Path) -> None:
    """In the kernel and on disk, until the source tells all."""
    workloads = Lacking((WEB, API))
    async with Host(tmp_path, workloads=workloads).serving() as host:
        await host.until_served(WEB, API)
        before = host.table
        workloads.lacking = ("api.toml cannot be read",)
        workloads.set([WEB])
        await asyncio.sleep(60)
        assert {"web", "api"} == host.bootstraps()
        assert before == host.table
        workloads.lacking = ()
        await host.until_served(WEB)


async def test_a_namespace_that_comes_later_is_found() -> None:
    """It is looked for again and again; others are bound meanwhile."""
    pod = Proxy("pod", "host1", cgroup="/nowhere/of/all")
    async with following(Lacking(), FakeNamespaces()) as cells:
        cells.named.set((WEB, pod))
        await asyncio.sleep(1)
        assert cells.bindings.value is not None
        assert not isinstance(cells.bindings.value["", ""], Missing)
        missing = cells.bindings.value["", "/nowhere/of/all"]
        assert isinstance(missing, Missing)
        assert missing.gone
        cells.named.set((WEB,))
        await asyncio.sleep(1)
        assert list(cells.bindings.value) == [("", "")]
