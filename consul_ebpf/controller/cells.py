"""What flows between the parts of a controller: each cell, and who fills it.

A part is given the cells that it reads, and fills one. It calls no other part. Tokens
and bootstraps' parameters are in cells of the parts that ask Consul for them
(`TokenKeeper.tokens`, `CentralConfig.params`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.envoy.right_files import WrongFiles
from consul_ebpf.kernel.pods import Bindings
from consul_ebpf.model.values import HostProxies, PooledServer, Proxy, SlottedServer
from consul_ebpf.tokens.memory import Retired


@dataclass(frozen=True, slots=True)
class Cells:
    """The newest value of everything that more than one part has to do with."""

    pooled: Latest[tuple[PooledServer, ...]] = field(default_factory=Latest)
    """The servers and their states: by the pool."""
    servers: Latest[tuple[PooledServer, ...]] = field(default_factory=Latest)
    """The same, a moment later: by the server states, which go to the kernel first."""
    rows: Latest[Mapping[int, SlottedServer]] = field(default_factory=Latest)
    """The servers' rows as the kernel has them: by the tables."""
    named: Latest[tuple[Proxy, ...]] = field(default_factory=Latest)
    """The proxies: by their sources."""
    proxies: Latest[HostProxies] = field(default_factory=Latest)
    """The same, with those that may still exist: by the proxy follower."""
    bindings: Latest[Bindings] = field(default_factory=Latest)
    """Whose VIP is whose: by the bindings, from the proxies."""
    tls: Latest[TlsMaterial] = field(default_factory=Latest)
    """What Envoys verify servers with: by the TLS files."""
    wrong: Latest[WrongFiles] = field(default_factory=Latest)
    """Whose files somebody else has changed: by the looks at them."""
    done: Latest[Converged] = field(default_factory=Latest)
    """What the newest round came to: by the rounds."""
    refusal: Latest[str] = field(default_factory=Latest)
    """Why the kernel does not take the newest table, empty: it does. By the rounds."""
    dns_missing: Latest[str] = field(default_factory=Latest)
    """What is lacking for queries to be answered, a line; empty: nothing. By the
    service of DNS."""
    missing: Latest[tuple[str, ...]] = field(default_factory=Latest)
    """What is lacking to serve all, a line each: by the gaps."""
    outcome: Latest[Converged] = field(default_factory=Latest)
    """What has been done and what is missing, once it is logged: by the reports. The
    first value comes in time for READY, with whatever is known by then."""
    reconnected: Latest[Mapping[str, int]] = field(default_factory=Latest)
    """By proxy key how often its Envoy was seen to connect anew: by the reconnects. A
    token that is refused may be the reason."""
    refused: Latest[Mapping[str, int]] = field(default_factory=Latest)
    """By proxy key how often the servers refused its token when they were asked about
    its bootstrap: by the central configuration."""
    unused: Latest[frozenset[Retired]] = field(default_factory=Latest)
    """Logins' old tokens that no Envoy uses any more: by the rotation. The tokens'
    keeper logs them out."""
    alive: Latest[int] = field(default_factory=Latest)
    """Another number every other second while work gets done, and none while a piece
    of it is stuck: by the watchdog."""
