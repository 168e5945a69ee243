"""Servers, proxies, answers and tokens that go into a round."""

from ipaddress import IPv6Address

from consul_ebpf import PooledServer, Proxy, Server, ServerState
from consul_ebpf.controller.outcomes import Converged, Served
from consul_ebpf.model.token_keys import Tokens
from consul_ebpf.model.values import BootstrapParams
from consul_ebpf.proxies.params import Params

FOUR = PooledServer(Server.at("10.0.0.1", 8502), ServerState.READY)
SIX = PooledServer(Server.at("fd00::1", 8502), ServerState.READY)
WEB = Proxy("web", "host1", owner="test")
API, NEW = Proxy("api", "host1"), Proxy("new", "host1")
RUNNING = (WEB, API)
MAPPED = Proxy("six", "host1", owner="test", vip=IPv6Address("::ffff:127.64.0.9"))


def told(value: object, *proxies: Proxy) -> Params:
    """Return that central configuration holds a value, for all of these."""
    return Params({each.id: BootstrapParams(config={"key": value}) for each in proxies})


def tokens(secret: str) -> Tokens:
    """Return the host's token, used by every proxy."""
    return Tokens({"": secret})


def served(done: Converged, proxy: Proxy) -> Served:
    """Return what was written for a proxy; it was served."""
    outcome = done.outcomes[proxy.id]
    assert isinstance(outcome, Served)
    return outcome
