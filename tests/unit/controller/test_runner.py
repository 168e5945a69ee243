"""What starts again, and what ends it all."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consul_ebpf.model.errors import ConsulEbpfError, KernelFeatureError
from consul_ebpf.model.values import (
    Proxy,
    Server,
)
from consul_ebpf.testing import (
    FakeServerSource,
    MemoryMapBackend,
)
from tests.lab.serving import (
    API,
    JOB,
    SERVERS,
    WEB,
    Host,
)

pytestmark = pytest.mark.looptime(start=0)


class Ending:
    """A workload source that breaks its word."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.more: tuple[Proxy, ...] = (WEB,)
        self.watched = 0

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        self.watched += 1
        yield self.more
        if self._error is not None:
            raise self._error


class Unusable(MemoryMapBackend):
    """A kernel that has lost what it needs."""

    def mend(self) -> tuple[str, ...]:
        raise KernelFeatureError("no such kernel")


async def test_a_restart_writes_nothing(tmp_path: Path) -> None:
    """Neither tables nor files, where nothing has changed."""
    async with Host(tmp_path, WEB, API, JOB).serving() as first:
        await first.until_served(WEB, API, JOB)
    files = written(tmp_path)
    backend = MemoryMapBackend(table=first.table)
    async with Host(tmp_path, JOB, API, WEB, backend=backend).serving() as again:
        await again.until(lambda: bool(again.told) and 3 == again.told[-1].servers)
        await asyncio.sleep(10)
    assert [] == again.writes
    assert first.table == again.table
    assert files == written(tmp_path)


def written(directory: Path) -> dict[Path, tuple[int, int]]:
    """Tell each file and when it was written."""
    stats = {path: path.stat() for path in directory.glob("*/*.json")}
    return {path: (each.st_ino, each.st_mtime_ns) for path, each in stats.items()}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(None, "proxies: the source of proxies ended", id="ends"),
        pytest.param(ConsulEbpfError("no more"), "proxies: no more", id="ours"),
        pytest.param(OSError("disk"), "proxies: OSError: disk", id="a surprise"),
    ],
)
async def test_fault_82_a_source_that_fails_is_started_again(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    error: Exception | None,
    told: str,
) -> None:
    """Said once, with its traceback where nobody foresaw it; what it said stays."""
    ending = Ending(error)
    async with Host(tmp_path, workloads=ending).serving() as host:
        await host.until_served(WEB)
        await asyncio.sleep(200)
        assert {"web"} == host.bootstraps()
        assert 3 < ending.watched < 12  # with growing pauses
        ending.more = (WEB, API)
        await host.until_served(WEB, API)
    said = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert [told] == [each.getMessage()[: len(told)] for each in said]
    assert bool(said[0].exc_info) is isinstance(error, OSError)


async def test_fault_82_the_pool_of_servers_is_started_again(tmp_path: Path) -> None:
    """The servers it named stay in use meanwhile, and new proxies are served."""

    class EndingServers(FakeServerSource):
        async def watch(self) -> AsyncIterator[tuple[Server, ...]]:
            yield tuple(SERVERS)
            await asyncio.sleep(5)
            raise ZeroDivisionError

    host = Host(tmp_path, WEB, source=EndingServers())
    async with host.serving():
        await host.until_served(WEB)
        for number in range(100):
            host.workloads.set([WEB, Proxy(f"more-{number}", "host1")])
            await asyncio.sleep(1)
        await host.until_served(WEB, Proxy("more-99", "host1"))
        assert 3 == len(host.table.servers)


async def test_fault_82_what_cannot_go_on_ends_it(tmp_path: Path) -> None:
    """With that error, and not with a group of them; what is programmed stays."""
    backend = Unusable()
    async with Host(tmp_path, WEB, backend=backend).serving() as host:
        with pytest.raises(KernelFeatureError, match="no such kernel"):
            await host.task
    assert not backend.closed


async def test_more_parts_run_beside_and_read_the_cells(tmp_path: Path) -> None:
    """They are started again whatever they raise: the proxies do not need them."""
    host, seen = Host(tmp_path, WEB), []

    async def part() -> None:
        async for done in host.runner.cells.outcome.changes():
            seen.append(done.proxies)
            raise KernelFeatureError("an older kernel")

    task = asyncio.create_task(host.runner.run(parts={"one more": part}))
    while len(seen) < 3:
        assert not task.done()
        await asyncio.sleep(1)
    assert {"web"} == host.bootstraps()
    assert {1} == set(seen)
    task.cancel()
    await asyncio.wait([task])
