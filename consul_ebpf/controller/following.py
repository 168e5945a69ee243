"""Follows the host's proxies, and from where connects to their VIPs are accepted."""

import functools

from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.threads import finish
from consul_ebpf.kernel.pods import Binder, Bindings
from consul_ebpf.model.seams import Lacks, Namespaces, WorkloadSource
from consul_ebpf.model.values import HostProxies, Proxy

LOOK_SECONDS = 2.0
"""Between two looks at what the source lacks, and at the namespaces."""


class ProxyFollower:
    """Fills `proxies`.

    While the source does not know all proxies (`Lacks`), proxies that it named before
    and does not name now are kept, because they may still exist. A pod's is not kept:
    kubelet itself said that it goes.
    """

    def __init__(
        self,
        source: WorkloadSource,
        named: Latest[tuple[Proxy, ...]],
        proxies: Latest[HostProxies],
    ) -> None:
        self._source = source
        self._named = named
        self._proxies = proxies

    def __repr__(self) -> str:
        return f"<ProxyFollower {self._source!r}>"

    async def run(self) -> None:
        """Follow, until cancelled."""
        changes = Changes(self._named)
        while True:
            await changes.wait(LOOK_SECONDS)
            if self._named.value is not None:
                self._proxies.set(self._known(self._named.value))

    def _known(self, named: tuple[Proxy, ...]) -> HostProxies:
        lacking = lacking_of(self._source)
        before = self._proxies.value
        if not lacking or before is None:
            return HostProxies(named, lacking)
        keys = {each.key for each in named}
        kept = (each for each in before.proxies if not each.is_pods)
        unnamed = (each for each in kept if each.key not in keys)
        return HostProxies((*named, *unnamed), lacking)


def lacking_of(source: WorkloadSource) -> tuple[str, ...]:
    """Return one line for each thing that a source does not know now."""
    return tuple(source.lacking) if isinstance(source, Lacks) else ()


class BindingFollower:
    """Fills `bindings` for all proxies; it looks again every `LOOK_SECONDS`."""

    def __init__(
        self,
        namespaces: Namespaces | None,
        proxies: Latest[HostProxies],
        bindings: Latest[Bindings],
    ) -> None:
        self._binder = Binder(namespaces)
        self._proxies = proxies
        self._bindings = bindings

    def __repr__(self) -> str:
        return f"<BindingFollower {self._binder!r}>"

    async def run(self) -> None:
        """Follow, until cancelled."""
        changes = Changes(self._proxies)
        while True:
            await changes.wait(LOOK_SECONDS)
            if self._proxies.value is not None:
                look = functools.partial(self._binder.look, self._proxies.value.proxies)
                self._bindings.set(await finish(look))
