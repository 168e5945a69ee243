"""The cells: the values that the parts of a controller exchange, and who fills each.

A part reads some cells and fills one. It does not call other parts. Tokens and what
Consul says of bootstraps are in cells of the parts that ask for them
(`TokenKeeper.tokens`, `CentralConfig.params`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.envoy.right_files import WrongFiles
from consul_ebpf.kernel.pods import Bindings
from consul_ebpf.model.values import (
    HostProxies,
    KernelState,
    PooledServer,
    Proxy,
    SlottedServer,
)
from consul_ebpf.tokens.memory import Retired


@dataclass(frozen=True, slots=True)
class Cells:
    """The newest value of everything that more than one part needs."""

    pooled: Latest[tuple[PooledServer, ...]] = field(default_factory=Latest)
    """The servers and their states. The pool fills it."""
    servers: Latest[tuple[PooledServer, ...]] = field(default_factory=Latest)
    """The same, once the states are in the kernel. `ServerStates` fills it."""
    rows: Latest[Mapping[int, SlottedServer]] = field(default_factory=Latest)
    """The servers' rows as the kernel has them, by slot. `Tables` fills it."""
    named: Latest[tuple[Proxy, ...]] = field(default_factory=Latest)
    """The proxies that the sources name. Their source fills it."""
    proxies: Latest[HostProxies] = field(default_factory=Latest)
    """The same, and proxies that may still exist. `ProxyFollower` fills it."""
    bindings: Latest[Bindings] = field(default_factory=Latest)
    """From where connects to each VIP are accepted. `BindingFollower` fills it."""
    tls: Latest[TlsMaterial] = field(default_factory=Latest)
    """What Envoys verify servers with. The look at the TLS files fills it."""
    wrong: Latest[WrongFiles] = field(default_factory=Latest)
    """The proxies whose files somebody else has changed. The look at files fills it."""
    done: Latest[Converged] = field(default_factory=Latest)
    """The result of the newest round. `Rounds` fills it."""
    refusal: Latest[str] = field(default_factory=Latest)
    """Why the kernel refuses the newest table; empty: it took it. `Rounds` fills it."""
    dns_pooled: Latest[tuple[PooledServer, ...]] = field(default_factory=Latest)
    """The servers and the states of their DNS. `DnsService` fills it."""
    dns_missing: Latest[str] = field(default_factory=Latest)
    """A line that says why DNS queries are not answered; empty: they are. `DnsService`
    fills it."""
    missing: Latest[tuple[str, ...]] = field(default_factory=Latest)
    """One line for each thing that is missing to serve all. `Gaps` fills it."""
    outcome: Latest[Converged] = field(default_factory=Latest)
    """The newest result with what is missing, after it was logged. `Reports` fills it.
    The first value comes in time for READY, with whatever is known by then."""
    reconnected: Latest[Mapping[str, int]] = field(default_factory=Latest)
    """How often each proxy's Envoy connected again, by proxy key. A token that servers
    refuse may be the reason. `Reconnects` fills it."""
    looked: Latest[KernelState] = field(default_factory=Latest)
    """What the kernel's tables held, and had counted, at the newest look for proxies
    that connected again. `Reconnects` fills it."""
    refused: Latest[Mapping[str, int]] = field(default_factory=Latest)
    """How often the servers refused each proxy's token, by proxy key, when they were
    asked about its bootstrap. `CentralConfig` fills it."""
    unused: Latest[frozenset[Retired]] = field(default_factory=Latest)
    """Old tokens of logins that no Envoy uses any more. `Rotator` fills it, and
    `TokenKeeper` logs them out."""
    alive: Latest[int] = field(default_factory=Latest)
    """A new number every two seconds, as long as no piece of work is stuck. `Watchdog`
    fills it."""
