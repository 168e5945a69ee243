"""What one more proxy takes of the controller's memory, while nothing happens."""

import asyncio
import gc
import logging
import sys
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from consul_ebpf.model.values import Proxy
from consul_ebpf.testing import MemoryMapBackend
from tests.scale.host import Host

FEW, MANY = 100, 500
BYTES_EACH = 1270
"""At most. They were 4,500: paths, copies, and what many proxies share."""
NOT_OF_IT = (
    *(type, ModuleType, FunctionType, asyncio.AbstractEventLoop),
    logging.Logger,  # it leads to what pytest captured of the log
)


@pytest.mark.looptime
async def test_a_proxy_takes_little_memory(tmp_path: Path) -> None:
    """All that the parts keep of it, itself included."""
    host = Host(tmp_path, (MemoryMapBackend(), MemoryMapBackend()), FEW, 3)
    task = asyncio.create_task(host.runner.run())
    try:
        few = await _kept(host, FEW)
        more = (Proxy(f"web-{n}-sidecar-proxy", "host1") for n in range(FEW, MANY))
        host.workloads.set([*host.proxies, *more])
        each = (await _kept(host, MANY) - few) / (MANY - FEW)
    finally:
        task.cancel()
        await asyncio.wait([task])
    print(f"{each:.0f} bytes for each proxy")
    assert each < BYTES_EACH


async def _kept(host: Host, number: int) -> int:
    """Return the size of all that the runner leads to, with so many proxies served."""
    await host.until(lambda: host.serves(3, number), pause=1)
    await asyncio.sleep(30)  # all were asked about, looked at, and told of
    seen: dict[int, object] = {}
    found: list[object] = [host.runner]
    while found:
        each = found.pop()
        if id(each) not in seen and not isinstance(each, NOT_OF_IT):
            seen[id(each)] = each
            found += gc.get_referents(each)
    return sum(map(sys.getsizeof, seen.values()))
