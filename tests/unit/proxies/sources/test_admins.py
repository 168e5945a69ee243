"""Admin addresses told apart in a stream of proxies, and kept."""

import socket
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

from consul_ebpf.model.seams import Lacks
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.admins import (
    ADMINS_FILE,
    AdminMemory,
    AdminWorkloads,
    is_busy,
)
from consul_ebpf.proxies.sources.merged import MergedWorkloads
from consul_ebpf.testing import FakeWorkloads

HOST = "127.64.77.1"


def told(proxies: tuple[Proxy, ...]) -> dict[str, int]:
    return {each.id: each.admin[1] for each in proxies if each.admin}


def workloads(source: FakeWorkloads, directory: Path, *, writes: bool = True) -> Any:
    memory = AdminMemory(directory, writes=writes)
    return AdminWorkloads(
        MergedWorkloads([source]), memory, (HOST, 19000), {"set": (HOST, 19001)}
    )


async def test_kept_over_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same ports for whoever comes back; a conflict is logged once."""
    a, b, mine = (Proxy(each, "n") for each in ("a", "b", "set"))
    source = FakeWorkloads([b, a, mine])
    async with aclosing(cast("Any", workloads(source, tmp_path).watch())) as watch:
        assert told(await anext(watch)) == {"b": 19000, "a": 19002, "set": 19001}
    source = FakeWorkloads([a, Proxy("new", "n"), b])
    async with aclosing(cast("Any", workloads(source, tmp_path).watch())) as watch:
        assert told(await anext(watch)) == {"a": 19002, "new": 19001, "b": 19000}
        for service in ("x", "y"):
            source.set([mine, Proxy("mine", "n", service=service, admin=(HOST, 19001))])
            conflicts = [each.conflict for each in await anext(watch)]
            assert [bool(each) for each in conflicts] == [False, True]
    assert caplog.text.count(f"admin address {HOST}:19001 is that of proxy 'set'") == 1


async def test_who_only_looks_writes_nothing(tmp_path: Path) -> None:
    """And whoever cannot read what is remembered begins anew."""
    source = FakeWorkloads([Proxy("a", "n")])
    looking = workloads(source, tmp_path, writes=False)
    lacks: object = looking
    assert isinstance(lacks, Lacks)
    assert looking.lacking
    async with aclosing(cast("Any", looking.watch())) as watch:
        assert told(await anext(watch)) == {"a": 19000}
        assert not looking.lacking
    assert not (tmp_path / ADMINS_FILE).exists()
    (tmp_path / ADMINS_FILE).write_text("damaged")
    assert AdminMemory(tmp_path, writes=False).load() == {}
    assert (tmp_path / ADMINS_FILE).exists()


class Lacking(FakeWorkloads):
    """Says what it lacks, as it is told."""

    lacking: tuple[str, ...] = ()


async def test_fault_86_nobody_is_bereft_while_a_source_cannot_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Named by the catalog alone, a proxy that had its own waits; others do not."""
    mine, other = Proxy("mine", "n", netns="/run/netns/mine"), Proxy("other", "n")
    source = Lacking([mine, other])
    async with aclosing(cast("Any", workloads(source, tmp_path).watch())) as watch:
        assert [each.id for each in await anext(watch)] == ["mine", "other"]
    catalogs = Proxy("mine", "n", owner="catalog node n")
    source = Lacking([catalogs, other])
    source.lacking = ("registered.json was damaged",)
    async with aclosing(cast("Any", workloads(source, tmp_path).watch())) as watch:
        assert [each.id for each in await anext(watch)] == ["other"]
        assert caplog.text.count("proxy 'mine' (catalog node n): waits: it had a") == 1
        source.set([mine])
        assert [each.id for each in await anext(watch)] == ["mine"]
        source.lacking = ()
        source.set([catalogs, other])  # nobody else names it: it is the catalog's now
        assert [each.id for each in await anext(watch)] == ["mine", "other"]


def test_a_port_that_is_listened_on_is_busy() -> None:
    """One that nobody has, or whose connections are ending, is not."""
    with socket.create_server((HOST, 0)) as listening:
        at = HOST, listening.getsockname()[1]
        assert is_busy(at)
    assert not is_busy(at)
    assert not is_busy(("192.0.2.1", 19000))  # not here: Envoy will say so
