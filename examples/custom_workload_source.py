"""A `WorkloadSource` of your own: a proxy for each file, here a network namespace.

sudo python examples/custom_workload_source.py /etc/consul-ebpf.toml /run/netns
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from consul_ebpf import Proxy, Runner
from consul_ebpf.config.load import load
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.wiring.consul import Parts
from consul_ebpf.wiring.files import bootstrap_files, renderer
from consul_ebpf.wiring.host import open_backend


class Files:
    """Looks into a directory each second; a file's name is a proxy's id."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list, for ever; one like the last changes nothing."""
        while True:
            yield tuple(Proxy(id=f.name, node="host1") for f in self._path.iterdir())
            await asyncio.sleep(1)


if __name__ == "__main__":
    config = load(Path(sys.argv[1]), env={})
    with open_backend(config) as opened:
        runner = Runner(
            pool=Parts(config).server_pool(),
            workloads=Files(sys.argv[2]),
            backend=opened,
            renderer=renderer(config),
            files=bootstrap_files(config),
            memory=VipMemory(Path(config.bootstrap.directory)),
        )
        asyncio.run(runner.run(print))
