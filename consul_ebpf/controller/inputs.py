"""All that a round is made of, and what a proxy's bootstrap still waits for. Pure."""

from dataclasses import dataclass, field

from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.outcomes import Trouble
from consul_ebpf.kernel.pods import UNBOUND, Bindings, place_of
from consul_ebpf.model.values import PooledServer, Proxy
from consul_ebpf.proxies.params import Params
from consul_ebpf.tokens.keeper import Tokens
from consul_ebpf.tokens.keys import key_of

ASKING = "Consul is being asked for it"
"""Why a bootstrap waits, before there is an answer."""

NO_ID = "Consul does not know it yet (no id)"
"""Why a bootstrap waits of a proxy of which only the key is known."""

NO_BOOTSTRAP = "no bootstrap yet"
"""What that means for the proxy."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a table and the files are made of; None: not known yet."""

    servers: tuple[PooledServer, ...] | None = None
    proxies: tuple[Proxy, ...] | None = None
    lacking: tuple[str, ...] = ()
    """What the source of proxies cannot tell now: others may exist meanwhile."""
    tokens: Tokens | None = None
    """The proxies' ACL tokens; None: the servers ask for none."""
    params: Params | None = None
    """What Consul says of their bootstraps; None: it is not asked."""
    tls: TlsMaterial | None = None
    """What Envoys verify servers with; None: plaintext."""
    bindings: Bindings = field(default_factory=lambda: UNBOUND)
    """Of all places the proxies live at."""
    attempt: int = 0
    """Counts the rounds repeated because a file could not be written."""

    @property
    def complete(self) -> bool:
        """Whether servers, proxies and whose VIPs are whose are known."""
        if self.servers is None or self.proxies is None:
            return False
        return all(place_of(proxy) in self.bindings for proxy in self.proxies)


def secret(inputs: Inputs, proxy: Proxy) -> str:
    """Return a proxy's ACL token; empty: there is none, or none yet."""
    tokens = inputs.tokens
    return tokens.secrets.get(key_of(proxy), "") if tokens else ""


def secret_there(inputs: Inputs, proxy: Proxy) -> bool:
    """Whether a proxy has its ACL token, or needs none."""
    tokens = inputs.tokens
    return (
        not tokens or key_of(proxy) not in tokens.needed or bool(secret(inputs, proxy))
    )


def waits(proxy: Proxy, inputs: Inputs) -> Trouble | None:
    """Say what a proxy's bootstrap has to wait for; None: for nothing."""
    if not proxy.id:
        return Trouble(NO_ID, NO_BOOTSTRAP, fleeting=True)
    tokens, params = inputs.tokens or Tokens(), inputs.params
    if not secret_there(inputs, proxy):
        why = tokens.waiting.get(key_of(proxy))
        cause = f"no ACL token yet: {why or ASKING}"
        return Trouble(cause, NO_BOOTSTRAP, fleeting=why is None)
    if params is not None and proxy.key not in params.found:
        why = params.waiting.get(proxy.key)
        return Trouble(why or ASKING, NO_BOOTSTRAP, fleeting=why is None)
    return None
