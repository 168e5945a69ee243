"""What others took away is put back, and said. Time is virtual."""

import asyncio

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.controller.kernel_table import KernelTable
from consul_ebpf.controller.tables import Tables
from consul_ebpf.controller.upkeep import Upkeep
from consul_ebpf.model.errors import KernelError
from consul_ebpf.testing import MemoryMapBackend

pytestmark = pytest.mark.looptime(start=0)


class Backend(MemoryMapBackend):
    """Cannot be mended while it says why."""

    why = ""

    def mend(self) -> tuple[str, ...]:
        if self.why:
            raise KernelError(self.why)
        return super().mend()


async def test_each_thing_is_said_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What cannot be put back now is said once, and tried for ever."""
    backend = Backend()
    tables = Tables(KernelTable(backend, ""), Progress(), Latest())
    task = asyncio.create_task(Upkeep(tables).run())
    backend.why = "the cgroup is gone"
    await asyncio.sleep(60)
    backend.why, backend.broken = "", ("connect4 was no longer attached",)
    await asyncio.sleep(60)
    assert not task.done()
    task.cancel()
    assert caplog.messages == ["the cgroup is gone", "connect4 was no longer attached"]
    assert [each.__dict__["event"] for each in caplog.records] == [
        "kernel_refused",
        "mended",
    ]
