"""The inputs of a round, and what a proxy's bootstrap still waits for. Pure."""

import functools
from dataclasses import dataclass, field

from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.outcomes import Trouble
from consul_ebpf.envoy.right_files import WrongFiles
from consul_ebpf.kernel.pods import UNBOUND, Bindings, place_of
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.token_keys import NOT_YET, Tokens, token_of
from consul_ebpf.model.values import BootstrapParams, PooledServer, Proxy
from consul_ebpf.proxies.params import Params

NO_ID = "Consul does not know it yet (no id)"
"""Why a bootstrap waits if only the proxy's key is known, and its source does not say.
"""

ENDED = "Consul has its registration no more: its pod ends"
"""Why the bootstrap of a proxy that has ended is not made."""

NO_BOOTSTRAP = "no bootstrap yet"
"""The effect of a bootstrap that waits."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the tables and the files are made from; None: not known yet."""

    servers: tuple[PooledServer, ...] | None = None
    proxies: tuple[Proxy, ...] | None = None
    lacking: tuple[str, ...] = ()
    """What the source of proxies does not know now; there may be other proxies."""
    tokens: Tokens | None = None
    """The proxies' ACL tokens; None: the servers ask for none."""
    params: Params | None = None
    """What Consul says of the bootstraps; None: Consul is not asked."""
    tls: TlsMaterial | None = None
    """What Envoys verify servers with; None: plaintext."""
    bindings: Bindings = field(default_factory=lambda: UNBOUND)
    """The bindings of all places where proxies are."""
    wrong: WrongFiles | None = None
    """The proxies whose files somebody else has changed."""

    @property
    def complete(self) -> bool:
        """Whether servers, proxies and the bindings of their VIPs are known."""
        if self.servers is None or self.proxies is None:
            return False
        return all(place_of(proxy) in self.bindings for proxy in self.proxies)


def secret(inputs: Inputs, proxy: Proxy) -> str:
    """Return a proxy's ACL token; empty: there is none, or none yet."""
    token = token_of(proxy, inputs.tokens)
    return "" if isinstance(token, Missing) else token


def params_of(proxy: Proxy, inputs: Inputs) -> BootstrapParams | Missing | None:
    """Return what Consul says of a proxy's bootstrap; None: Consul is not asked."""
    if inputs.params is None:
        return None
    return inputs.params.get(proxy.key, NOT_YET)


def waits(proxy: Proxy, inputs: Inputs) -> Trouble | None:
    """Return what a proxy's bootstrap waits for; None: it can be made."""
    if proxy.ended:
        return _no_bootstrap(ENDED, fleeting=True)
    if not proxy.id:
        return _no_bootstrap(proxy.awaits or NO_ID, fleeting=True)
    token, params = token_of(proxy, inputs.tokens), params_of(proxy, inputs)
    if isinstance(token, Missing):
        return _no_bootstrap(f"no ACL token yet: {token}", fleeting=token.quiet)
    if isinstance(params, Missing):
        return _no_bootstrap(params.why, fleeting=params.quiet)
    return None


@functools.lru_cache(64)
def _no_bootstrap(cause: str, *, fleeting: bool) -> Trouble:
    """Return a trouble, the same for all proxies that have it: at a start, all."""
    return Trouble(cause, NO_BOOTSTRAP, fleeting)
