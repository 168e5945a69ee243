"""Those compared: each leads a few Envoys to the servers in its own way.

Envoys have this project's bootstrap with another endpoint, and so the same keepalive
and back-off, but for consul-dataplane's. A peer is a context manager that starts all it
needs in a network namespace, and ends it.
"""

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from consul_ebpf import EnvoyBootstrap, PlacedProxy, Proxy, Vip
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.debian import unpacked
from tests.lab.envoy import EnvoyProcess
from tests.lab.go_build import PartMissingError
from tests.lab.held import Held
from tests.lab.processes import Child
from tests.lab.scratch import Netns, scratch_bpffs, scratch_cgroup, scratch_directory

NODE = "host1-virtual"
BALANCED = ("127.0.99.1", 9502)
"""Where HAProxy listens."""
DNAT = ("127.0.99.2", GRPC_PORT)
"""What nftables leads to the servers."""


@dataclass(frozen=True)
class Place:
    """Where all of them run: beside a cluster, in a namespace."""

    cluster: ConsulCluster
    netns: Netns
    envoy: Path
    dataplane: Path | None


class Peer(Held):
    """Some Envoys, and what leads them to the servers."""

    def __init__(self, place: Place, proxies: Sequence[str], first: int) -> None:
        """Prepare.

        Args:
            place: where to run.
            proxies: their ids; they are registered.
            first: number of the first one's admin port, less 19000.
        """
        self._place = place
        self.proxies = tuple(proxies)
        self._admins = [19000 + first + n for n in range(len(proxies))]

    def settle(self) -> None:
        """Do what is to be done once all Envoys are connected."""

    def _bootstrap(self, n: int, where: tuple[str, int]) -> dict[str, Any]:
        """Return this project's bootstrap, with the servers at `where`."""
        id_ = self.proxies[n]
        service = id_.removesuffix("-sidecar-proxy")
        admin = ("127.0.0.1", self._admins[n])
        proxy = Proxy(id=id_, node=NODE, service=service, admin=admin)
        placed = PlacedProxy(proxy, Vip(IPv4Address(where[0]), where[1]))
        return dict(EnvoyBootstrap().render(placed))

    def _start(
        self,
        stack: ExitStack,
        bootstrap: Path | Mapping[str, Any],
        cgroup: Path | None = None,
    ) -> None:
        envoy = EnvoyProcess(
            self._place.envoy, bootstrap, cgroup=cgroup, netns=self._place.netns
        )
        stack.enter_context(envoy)


class Ours(Peer):
    """A host with this project's controller; killed, if `alive` is false."""

    def __init__(
        self, place: Place, proxies: Sequence[str], first: int, *, alive: bool
    ) -> None:
        super().__init__(place, proxies, first)
        self._alive = alive

    def hold(self, stack: ExitStack) -> None:
        """Start the controller, then the Envoys."""
        cgroup = stack.enter_context(scratch_cgroup())
        bpffs = stack.enter_context(scratch_bpffs())
        config = {
            "consul": {
                "http_addresses": self._place.cluster.http_addresses,
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
            "proxies": [
                {"id": id_, "node": NODE, "admin": f"127.0.0.1:{admin}"}
                for id_, admin in zip(self.proxies, self._admins, strict=True)
            ],
        }
        controller = ControllerProcess(config, netns=self._place.netns)
        self.controller = stack.enter_context(controller)
        for id_ in self.proxies:
            self._start(stack, controller.bootstrap(id_, 30), cgroup)

    def settle(self) -> None:
        """Kill the controller where it is to be dead; the Envoys are connected."""
        if not self._alive:
            self.controller.kill()


class Dataplanes(Peer):
    """A consul-dataplane for each Envoy, with its own watch of the servers."""

    def hold(self, stack: ExitStack) -> None:
        """Start them; each starts its Envoy."""
        program = self._place.dataplane
        if program is None:
            raise PartMissingError("no consul-dataplane: set CONSUL_DATAPLANE_BIN")
        directory = stack.enter_context(scratch_directory())
        cgroup = stack.enter_context(scratch_cgroup())  # its end is their Envoys' end
        addresses = directory / "addresses"
        servers = " ".join(self._place.cluster.addresses)
        addresses.write_text(f"#!/bin/sh\necho {servers}")
        addresses.chmod(0o755)
        for id_, admin in zip(self.proxies, self._admins, strict=True):
            flags = {
                "-addresses": f"exec={addresses}",
                "-grpc-port": GRPC_PORT,
                "-proxy-id": id_,
                "-proxy-node-name": NODE,
                "-envoy-executable-path": self._place.envoy,
                "-envoy-admin-bind-port": admin,
                "-envoy-concurrency": 1,
                "-graceful-port": admin + 10000,
                "-log-level": "warn",
            }
            argv = [str(program), "-tls-disabled"]
            argv += [str(word) for flag in flags.items() for word in flag]
            child = Child(id_, argv, directory, cgroup=cgroup, netns=self._place.netns)
            stack.callback(child.kill)


class Listed(Peer):
    """Envoys that have the list of servers in their bootstrap."""

    def hold(self, stack: ExitStack) -> None:
        """Start them."""
        for n in range(len(self.proxies)):
            bootstrap = self._bootstrap(n, DNAT)
            (xds,) = (
                cluster
                for cluster in bootstrap["static_resources"]["clusters"]
                if cluster["name"] == "consul-dataplane"
            )
            (group,) = xds["load_assignment"]["endpoints"]
            group["lb_endpoints"] = [
                {
                    "endpoint": {
                        "address": {
                            "socket_address": {
                                "address": address,
                                "port_value": GRPC_PORT,
                            }
                        }
                    }
                }
                for address in self._place.cluster.addresses
            ]
            self._start(stack, bootstrap)


HAPROXY = """
global
  nbthread 1
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
listen servers
  bind {address}:{port}
  balance leastconn
  option redispatch 1
  retries 3
  default-server check inter 1s fall 3 rise 2 on-marked-down shutdown-sessions
{servers}
"""


class HaProxy(Peer):
    """HAProxy in TCP mode on the host, which checks the servers once a second."""

    def hold(self, stack: ExitStack) -> None:
        """Start it, and the Envoys."""
        directory = stack.enter_context(scratch_directory())
        servers = "\n".join(
            f"  server s{n} {address}:{GRPC_PORT}"
            for n, address in enumerate(self._place.cluster.addresses)
        )
        file = directory / "haproxy.cfg"
        address, port = BALANCED
        file.write_text(HAPROXY.format(address=address, port=port, servers=servers))
        argv = [*unpacked().program("haproxy"), "-db", "-f", str(file)]
        child = Child("haproxy", argv, directory, netns=self._place.netns)
        stack.callback(child.kill)
        for n in range(len(self.proxies)):
            self._start(stack, self._bootstrap(n, BALANCED))


RULES = """
table ip bench {{
  chain output {{
    type nat hook output priority -100;
    ip daddr {address} tcp dport {port} dnat to {server}
  }}
}}
"""


class Dnat(Peer):
    """Rules of nftables lead each connection to any server, and look after nothing."""

    def hold(self, stack: ExitStack) -> None:
        """Load the rules, start the Envoys; the rules go with the namespace."""
        address, port = DNAT
        servers = ", ".join(
            f"{n} : {server}" for n, server in enumerate(self._place.cluster.addresses)
        )
        server = f"numgen random mod 3 map {{ {servers} }}"
        rules = RULES.format(address=address, port=port, server=server)
        run_nft(self._place.netns, rules)
        for n in range(len(self.proxies)):
            self._start(stack, self._bootstrap(n, DNAT))


def run_nft(netns: Netns, rules: str) -> None:
    """Load rules of nftables into a namespace."""
    command = [*netns.enter, *unpacked().program("nft"), "-f", "-"]
    subprocess.run(command, input=rules, text=True, check=True)
