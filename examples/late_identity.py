"""Proxies whose id comes late, with files in a volume of each pod.

sudo python examples/late_identity.py /etc/consul-ebpf.toml /run/pods 65534
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from consul_ebpf import Proxy, ProxyFiles, Runner
from consul_ebpf.config.load import load
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.wiring.consul import Parts
from consul_ebpf.wiring.files import bootstrap_files, renderer
from consul_ebpf.wiring.host import open_backend


class Pods:
    """A proxy for each directory in `path`, named like the pod: that is its key.

    The pod's volume is there before Consul knows the pod. Its file `id` is written once
    it is registered; until then its proxy has a VIP and waits for its bootstrap.
    """

    def __init__(self, path: str, user: int) -> None:
        self._path = Path(path)
        self._user = user

    def _proxy(self, pod: Path) -> Proxy:
        registered = pod / "id"
        return Proxy(
            id=registered.read_text().strip() if registered.exists() else "",
            node="host1",
            key=pod.name,
            files=ProxyFiles(
                directory=str(pod / "consul"),  # on this host
                seen_at="/consul",  # in the pod
                owner=(self._user, self._user),
            ),
        )

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list, for ever; one like the last changes nothing."""
        while True:
            yield tuple(self._proxy(pod) for pod in sorted(self._path.iterdir()))
            await asyncio.sleep(1)


if __name__ == "__main__":
    config = load(Path(sys.argv[1]), env={})
    with open_backend(config) as opened:
        runner = Runner(
            pool=Parts(config).server_pool(),
            workloads=Pods(sys.argv[2], int(sys.argv[3])),
            backend=opened,
            renderer=renderer(config),
            files=bootstrap_files(config),
            memory=VipMemory(Path(config.bootstrap.directory)),
        )
        asyncio.run(runner.run(lambda done: print(done, done.refusals)))
