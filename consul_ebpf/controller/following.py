"""Follow the host's proxies: who there are, and whose VIP is whose.

While a source lacks something (`Lacks`), proxies that it named before and does not
name now are kept: they may still exist.
"""

import asyncio
import functools
from dataclasses import replace

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.kernel.pods import Binder
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.seams import Lacks, Namespaces, WorkloadSource
from consul_ebpf.model.values import HostProxies, Proxy


class ProxyFollower:
    """Puts the proxies and their bindings into the inputs of the rounds.

    Args:
        workloads: names the proxies.
        namespaces: looks into their network namespaces.
        inputs: where it is all put.
        cell: where the proxies are put.
    """

    def __init__(
        self,
        workloads: WorkloadSource,
        namespaces: Namespaces | None,
        *,
        inputs: Latest[Inputs],
        cell: Latest[HostProxies],
    ) -> None:
        self._workloads = workloads
        self._binder = Binder(namespaces)
        self._inputs = inputs
        self._cell = cell
        self._looking = asyncio.Lock()
        self._named: tuple[Proxy, ...] | None = None
        """What the source said last."""

    def __repr__(self) -> str:
        return f"<ProxyFollower {self._workloads!r}>"

    @property
    def missing(self) -> tuple[str, ...]:
        """What is not known of the proxies, a line each."""
        if self._named is None:
            return ("the sources of proxies have not answered yet", *self._lacking)
        return self._lacking

    @property
    def _lacking(self) -> tuple[str, ...]:
        workloads = self._workloads
        return tuple(workloads.lacking) if isinstance(workloads, Lacks) else ()

    async def follow(self) -> None:
        """Take each new list from the source."""
        async for proxies in self._workloads.watch():
            self._named = proxies
            await self._look()
        raise ConsulEbpfError("the source of proxies ended; it never should")

    async def look_again(self, every: float) -> None:
        """Look again at namespaces, and at what the source lacks, for ever."""
        while True:
            await asyncio.sleep(every)
            await self._look()

    async def _look(self) -> None:
        """Take the proxies there are, and look whose VIP is whose."""
        async with self._looking:
            if self._named is None:
                return
            before = self._inputs.value or Inputs()
            lacking = self._lacking
            proxies = self._named
            if lacking:
                names = {each.key for each in proxies}
                unnamed = (p for p in before.proxies or () if p.key not in names)
                proxies = (*proxies, *unnamed)
            self._cell.set(HostProxies(proxies, lacking))
            look = functools.partial(self._binder.look, proxies)
            found = await finish(look)
            self._put(proxies=proxies, lacking=lacking, bindings=found)

    def _put(self, **changed: object) -> None:
        current = self._inputs.value or Inputs()
        self._inputs.set(replace(current, **changed))  # type: ignore[arg-type]
