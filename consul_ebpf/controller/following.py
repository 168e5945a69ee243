"""Follow the host's proxies: who there are, whose VIP is whose, what is asked of them.

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
from consul_ebpf.proxies.params import CentralConfig
from consul_ebpf.tokens.keeper import TokenKeeper, Tokens
from consul_ebpf.tokens.keys import key_of


class ProxyFollower:
    """Puts the proxies and their bindings into the inputs of the rounds.

    Args:
        workloads: names the proxies.
        namespaces: looks into their network namespaces.
        keeper: is told whose tokens to keep.
        central: is told whose bootstraps to ask for.
        inputs: where it is all put.
        cell: where the proxies are put.
    """

    def __init__(
        self,
        workloads: WorkloadSource,
        namespaces: Namespaces | None,
        keeper: TokenKeeper | None,
        central: CentralConfig | None,
        *,
        inputs: Latest[Inputs],
        cell: Latest[HostProxies],
    ) -> None:
        self._workloads = workloads
        self._binder = Binder(namespaces)
        self._keeper = keeper
        self._central = central
        self._inputs = inputs
        self._cell = cell
        self._looking = asyncio.Lock()
        self._asked: tuple[object, object] = (None, None)
        """Proxies and tokens that Consul was asked with last."""
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
            if proxies != before.proxies or lacking != before.lacking:
                self._keep_tokens(proxies, lacking)
            look = functools.partial(self._binder.look, proxies)
            found = await finish(look)
            self._put(proxies=proxies, lacking=lacking, bindings=found)
        self.ask_consul()

    def _keep_tokens(
        self, proxies: tuple[Proxy, ...], lacking: tuple[str, ...]
    ) -> None:
        if self._keeper is not None:
            self._keeper.want(proxies, all_named=not lacking)
            self._put(tokens=self._keeper.tokens.value)

    def ask_consul(self) -> None:
        """Have Consul asked about the proxies that have their id and token."""
        inputs = self._inputs.value or Inputs()
        if self._central is None or inputs.proxies is None:
            return
        if self._asked[0] is inputs.proxies and self._asked[1] is inputs.tokens:
            return
        self._asked = inputs.proxies, inputs.tokens
        tokens = inputs.tokens or Tokens()
        self._central.want(
            {
                proxy: tokens.secrets.get(key_of(proxy), "")
                for proxy in inputs.proxies
                if proxy.id
                and (
                    key_of(proxy) not in tokens.needed
                    or key_of(proxy) in tokens.secrets
                )
            }
        )

    def _put(self, **changed: object) -> None:
        current = self._inputs.value or Inputs()
        self._inputs.set(replace(current, **changed))  # type: ignore[arg-type]
