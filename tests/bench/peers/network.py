"""All peers on the way of a connection, opened beside each other."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tests.bench.load import Load, compile_load, loading
from tests.bench.peers.direct import direct
from tests.bench.peers.nftables import nftables
from tests.bench.peers.ours import consul_ebpf
from tests.bench.peers.peer import Peer, Target
from tests.bench.peers.programs import empty_program, one_entry
from tests.bench.peers.proxies import envoy, haproxy
from tests.lab.go_build import PartMissingError

Make = Callable[[], AbstractContextManager[Peer]]

DIRECT = "no indirection"
EMPTY = "empty program"
BYSTANDER = "consul-ebpf, a bystander's"
OURS = "consul-ebpf, one of 250 proxies"
OURS_EACH = "consul-ebpf, each of 250 in turn"
MANY = "consul-ebpf, one of 65,536 proxies"
MANY_EACH = "consul-ebpf, each of 65,536 in turn"
PEERS: dict[str, Make] = {
    DIRECT: direct,
    EMPTY: empty_program,
    OURS_EACH: partial(consul_ebpf, 250),
    MANY_EACH: partial(consul_ebpf, 65536),
    "one-entry map": one_entry,
    "nftables DNAT": nftables,
    "HAProxy, TCP mode": haproxy,
    "Envoy, TCP proxy": envoy,
}


@dataclass(frozen=True)
class Case:
    """One way to connect, and what measures it."""

    peer: Peer
    load: Load
    target: Target

    def measure(self, what: str, *numbers: int, per: float = 1.0) -> float:
        """Have the load measure something; return its first number, divided."""
        return self.load.ask(self.target, what, *numbers)[0] / per

    def ipv6(self) -> "Case":
        """Return the same by AF_INET6 sockets."""
        return replace(self, target=replace(self.target, family=6))


@dataclass
class Network:
    """The cases by name, and what is to be said of those that are missing."""

    cases: dict[str, Case] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def take(self, *names: str) -> dict[str, Case]:
        """Return these cases, without those that are missing."""
        return {name: self.cases[name] for name in names if name in self.cases}


@contextmanager
def network(scratch: Path) -> Iterator[Network]:
    """Open every peer that can be had here."""
    found = Network()
    with ExitStack() as stack:
        binary = compile_load(scratch)
        for name, make in PEERS.items():
            try:
                peer = stack.enter_context(make())
            except PartMissingError as error:
                found.missing.append(f"{name} was left out: {error}.")
                continue
            case = Case(peer, stack.enter_context(loading([binary], peer)), peer.target)
            one = replace(case, target=replace(case.target, spread=1))
            if name == OURS_EACH:
                found.cases[BYSTANDER] = replace(case, target=Target())
                found.cases[OURS] = one
            elif name == MANY_EACH:
                found.cases[MANY] = one
            found.cases[name] = case
        yield found
