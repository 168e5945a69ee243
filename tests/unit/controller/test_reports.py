"""What is told of a round, when, and where it is kept. Time is virtual."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.outcomes import Converged, Refused, Trouble
from consul_ebpf.controller.problems import ProblemFile
from consul_ebpf.controller.reports import Reports

pytestmark = pytest.mark.looptime(start=0)

REFUSED = {"web": Refused(Trouble("no room"), name="web")}


@asynccontextmanager
async def reporting(directory: Path) -> AsyncIterator[Cells]:
    cells = Cells()
    problems = ProblemFile(directory)
    reports = Reports(cells.done, cells.missing, problems, cells.outcome)
    task = asyncio.create_task(reports.run())
    try:
        yield cells
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_is_missing_is_told_before_the_first_round(tmp_path: Path) -> None:
    """So that READY comes in time; nothing is told before."""
    async with reporting(tmp_path) as cells:
        await asyncio.sleep(60)
        assert cells.outcome.value is None
        cells.missing.set(("Consul has not answered yet",))
        await asyncio.sleep(1)
        assert cells.outcome.value == Converged(0, 0, 0, missing=cells.missing.value)  # type: ignore[arg-type]
        assert ProblemFile(tmp_path).read().missing == ["Consul has not answered yet"]


async def test_a_trouble_is_logged_before_its_outcome_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however often it is told; and it is kept where `status` finds it."""
    async with reporting(tmp_path) as cells:
        cells.done.set(Converged(3, 0, 1, outcomes=REFUSED))
        async for done in cells.outcome.changes():
            assert done.outcomes == REFUSED
            break
        assert caplog.messages == ["not served: proxy web: no room"]
        cells.done.set(Converged(2, 0, 1, outcomes=REFUSED))
        cells.missing.set(("a.toml cannot be read",))
        await asyncio.sleep(1)
        kept = ProblemFile(tmp_path).read()
        assert kept.proxies == {"web": ["no room"]}
        assert kept.missing == ["a.toml cannot be read"]
        cells.done.set(Converged(3, 0, 0))
        cells.missing.set(())
        await asyncio.sleep(1)
        assert not ProblemFile(tmp_path).read().proxies
    assert caplog.messages[1:] == ["a.toml cannot be read"]
