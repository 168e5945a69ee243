import asyncio
from collections.abc import AsyncIterator

import pytest

from consul_ebpf.model.seams import Lacks
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.merged import MergedWorkloads
from consul_ebpf.testing import FakeWorkloads

pytestmark = pytest.mark.looptime

A = Proxy("a", "n", owner="one")
B = Proxy("b", "n", owner="two")


class Failing:
    """Yields once, then fails or just ends."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.begun = 0

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        self.begun += 1
        yield (A,)
        await asyncio.sleep(1)
        if self._error:
            raise self._error


async def test_order_is_the_sources() -> None:
    """The proxies come in the order of their sources, whoever answers first."""
    one, two = FakeWorkloads(None), FakeWorkloads([B])
    watch = MergedWorkloads([one, two]).watch()
    first = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(1)
    assert not first.done()
    one.set([A])
    assert await first == (A, B)


async def test_newest_of_each() -> None:
    """A change of one source keeps what the others said."""
    one, two = FakeWorkloads([A]), FakeWorkloads([B])
    watch = MergedWorkloads([one, two]).watch()
    assert await anext(watch) == (A, B)
    two.set([])
    assert await anext(watch) == (A,)
    one.set([])
    two.set([B])
    assert await anext(watch) == (B,)


async def test_silent_source(caplog: pytest.LogCaptureFixture) -> None:
    """One that says nothing is waited for, then named and gone on without."""
    silent = FakeWorkloads(None)
    watch = MergedWorkloads([FakeWorkloads([A]), silent], patience=10).watch()
    begun = asyncio.get_running_loop().time()
    assert await anext(watch) == (A,)
    assert asyncio.get_running_loop().time() - begun == 10
    assert "workload source 2 <FakeWorkloads>: no answer yet" in caplog.text
    silent.set([B])
    assert await anext(watch) == (A, B)


async def test_all_silent() -> None:
    """Sources that all say nothing are not taken for a host without proxies."""
    source = FakeWorkloads(None)
    first = asyncio.ensure_future(anext(MergedWorkloads([source], patience=1).watch()))
    await asyncio.sleep(100)
    assert not first.done()
    source.set([])
    assert await first == ()


async def test_duplicates(caplog: pytest.LogCaptureFixture) -> None:
    """Of one id the first source's proxy is taken; both owners are logged, once."""
    twin = Proxy("a", "other", owner="two")
    one, two = FakeWorkloads([A]), FakeWorkloads([twin])
    watch = MergedWorkloads([one, two]).watch()
    assert await anext(watch) == (A,)
    two.set([twin, B])
    assert await anext(watch) == (A, B)
    assert [record.message for record in caplog.records] == [
        "proxy 'a' (two): refused, proxy 'a' (one) has this id"
    ]
    one.set([])
    assert await anext(watch) == (twin, B)


async def test_no_sources() -> None:
    """Without sources there are no proxies, and that is said."""
    assert await anext(MergedWorkloads([]).watch()) == ()


async def test_fault_86_a_source_that_fails_concerns_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its last list stays, the others go on, and it is begun again; said once."""
    healthy, failing = FakeWorkloads([B]), Failing(OSError("disk"))
    watch = MergedWorkloads([healthy, failing]).watch()
    assert await anext(watch) == (B, A)
    healthy.set([])
    assert await anext(watch) == (A,)
    later = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(100)
    assert not later.done()
    assert failing.begun > 2
    assert caplog.text.count("OSError: disk") == 2  # the line and its traceback
    healthy.set([B])
    assert await later == (B, A)


async def test_a_source_that_ends(caplog: pytest.LogCaptureFixture) -> None:
    """A source that ends is begun again, and named."""
    watch = MergedWorkloads([Failing(None)]).watch()
    assert await anext(watch) == (A,)
    later = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(100)
    later.cancel()
    assert "workload source 1" in caplog.text
    assert "Failing" in caplog.text
    assert "ended" in caplog.text


class Lacking(FakeWorkloads):
    """Says what it lacks, as it is told."""

    lacking: tuple[str, ...] = ()


async def test_fault_85_what_the_sources_lack_is_passed_on() -> None:
    """All lines of all sources, and who has not answered; a change of them is told."""
    one, two, silent = FakeWorkloads([A]), Lacking([B]), FakeWorkloads(None)
    merged = MergedWorkloads([one, two, silent], patience=10)
    assert isinstance(merged, Lacks)
    assert len(merged.lacking) == 3
    two.lacking = ("two: a file",)
    watch = merged.watch()
    assert await anext(watch) == (A, B)
    said = ["two: a file", "workload source 3 <FakeWorkloads> has not answered yet"]
    assert list(merged.lacking) == said
    silent.set([])
    assert await anext(watch) == (A, B)
    assert list(merged.lacking) == said[:1]


async def test_closing_stops_the_sources() -> None:
    """Nothing goes on once the watch is closed."""
    before = asyncio.all_tasks()
    watch = MergedWorkloads([FakeWorkloads([A])]).watch()
    assert await anext(watch) == (A,)
    assert asyncio.all_tasks() != before
    await watch.aclose()  # type: ignore[attr-defined]
    assert asyncio.all_tasks() == before
