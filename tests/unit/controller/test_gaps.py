"""What is missing is said in time, and taken back."""

import asyncio
from pathlib import Path

import pytest

from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.problems import ProblemFile
from consul_ebpf.model.values import (
    SlottedServer,
    Table,
)
from consul_ebpf.testing import (
    MemoryMapBackend,
)
from tests.lab.serving import (
    READY,
    SERVERS,
    WEB,
    Host,
    Lacking,
)

pytestmark = pytest.mark.looptime(start=0)


async def test_fault_83_it_is_ready_in_time_without_consul(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With nothing; what is missing is said once, shown, and taken back."""
    problems = ProblemFile(tmp_path)
    host = Host(tmp_path, WEB, servers=None, problems=problems)
    async with host.serving():
        await asyncio.sleep(1.9)
        assert [] == host.told
        await asyncio.sleep(0.2)
        (first,) = host.told
        assert str(Converged(servers=0, proxies=0, refused=0)) == str(first)
        line = "Consul has not answered yet: no server is known, so no proxy can be"
        assert [line] == [each[: len(line)] for each in first.missing]
        await asyncio.sleep(60)
        assert list(first.missing) == problems.read().missing
        assert 1 == caplog.text.count(line)
        host.source.set(SERVERS)
        await host.until_served(WEB)
        await asyncio.sleep(2)
        assert () == host.told[-1].missing
        assert [] == problems.read().missing


async def test_fault_83_what_else_is_missing_is_said(tmp_path: Path) -> None:
    """Sources that have not answered, and what they cannot tell."""
    workloads = Lacking(None)
    workloads.lacking = ("a.toml cannot be read",)
    async with Host(tmp_path, workloads=workloads).serving() as host:
        await asyncio.sleep(2.1)
        (done,) = host.told
        asking = "the sources of proxies have not answered yet"
        assert (asking, "a.toml cannot be read") == done.missing
        workloads.set([WEB])
        await host.until_served(WEB)
        await asyncio.sleep(2)
        assert ("a.toml cannot be read",) == host.told[-1].missing


async def test_fault_83_the_last_known_servers_serve_meanwhile(tmp_path: Path) -> None:
    """At once, as ever; that Consul has not answered is said in time."""
    rows = {4: SlottedServer(4, SERVERS[0], READY)}
    backend = MemoryMapBackend(table=Table(rows, {}))
    host = Host(tmp_path, WEB, backend=backend, servers=None)
    async with host.serving():
        await host.until_served(WEB)
        assert not host.told[-1].missing
        await asyncio.sleep(3)
        (line,) = host.told[-1].missing
        assert line.startswith("Consul has not answered yet: the last known servers")


async def test_fault_152_dns_that_is_not_served_is_missing(tmp_path: Path) -> None:
    """And the proxies are served."""
    host = Host(tmp_path, WEB)
    async with host.serving():
        await host.until_served(WEB)
        host.runner.cells.dns_missing.set("DNS is not served: the kernel is too old")
        await asyncio.sleep(3)
        said = host.told[-1].missing
        assert said == ("DNS is not served: the kernel is too old",)
