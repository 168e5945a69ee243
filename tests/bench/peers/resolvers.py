"""Ways to ask Consul's DNS, beside one real server in a network namespace."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from consul_ebpf import (
    BccMapBackend,
    Server,
    ServerState,
    Service,
    SlottedServer,
    Table,
    Vip,
)
from tests.bench.peers.peer import Peer, Target
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.go_build import PartMissingError
from tests.lab.parts import COREDNS
from tests.lab.processes import Child, wait_until
from tests.lab.scratch import (
    Netns,
    scratch_bpffs,
    scratch_cgroup,
    scratch_directory,
    scratch_netns,
)

SERVER = "127.0.101.1"
PORT = 8600
SERVICE = "web"
"""What is asked for, in load.c, too."""
VIP = Target("127.64.0.53", 53)
DATAPLANE = Target("127.0.0.1", 8653)
COREDNS_AT = Target("127.0.0.1", 8654)


@dataclass(frozen=True)
class Place:
    """A namespace with a server."""

    netns: Netns
    cluster: ConsulCluster
    dataplane: Path | None
    """consul-dataplane's binary."""


@contextmanager
def consul(binary: Path, dataplane: Path | None) -> Iterator[Place]:
    """Start a server that knows the service."""
    with (
        scratch_netns() as netns,
        ConsulCluster(binary, [SERVER], netns=netns) as cluster,
    ):
        cluster.register_proxy(SERVICE)
        yield Place(netns, cluster, dataplane)


@contextmanager
def server_itself(place: Place) -> Iterator[Peer]:
    """Ask the server: nothing can be faster."""
    with scratch_cgroup() as cgroup:
        yield Peer("the server itself", place.netns, cgroup, Target(SERVER, PORT))


@contextmanager
def consul_ebpf(place: Place) -> Iterator[Peer]:
    """Ask the VIP, which our program leads to the server."""
    vip = Vip(IPv4Address(VIP.address), VIP.port)
    row = SlottedServer(
        0, Server.at(SERVER, PORT), ServerState.READY, Service("dns", PORT)
    )
    with (
        scratch_cgroup() as cgroup,
        scratch_bpffs() as bpffs,
        BccMapBackend.open_dns(
            vip=vip, server_port=PORT, cgroup=str(cgroup), bpffs=str(bpffs)
        ) as backend,
    ):
        backend.apply(Table({0: row}, {vip: (0,)}))
        yield Peer("consul-ebpf", place.netns, cgroup, VIP, bpffs)


@contextmanager
def consul_dataplane(place: Place) -> Iterator[Peer]:
    """Ask the DNS proxy of a consul-dataplane, which asks the server over gRPC.

    Raises:
        PartMissingError: its binary was not given.
    """
    if place.dataplane is None:
        raise PartMissingError("no consul-dataplane: set CONSUL_DATAPLANE_BIN")
    flags = f"-mode dns-proxy -addresses {SERVER} -grpc-port {GRPC_PORT} -tls-disabled "
    flags += f"-consul-dns-bind-addr {DATAPLANE.address} "
    flags += f"-consul-dns-bind-port {DATAPLANE.port} -log-level warn"
    argv = [str(place.dataplane), *flags.split()]
    with running("consul-dataplane", argv, place, DATAPLANE) as peer:
        yield peer


@contextmanager
def coredns(place: Place) -> Iterator[Peer]:
    """Ask a CoreDNS that forwards each query, and keeps no answer.

    Raises:
        PartMissingError: it was not built.
    """
    if (binary := COREDNS.find()) is None:
        raise PartMissingError("no CoreDNS: python -m tests.lab.parts coredns")
    with scratch_directory() as directory:
        file = directory / "Corefile"
        file.write_text(
            f"consul:{COREDNS_AT.port} {{\n  bind {COREDNS_AT.address}\n"
            f"  forward . {SERVER}:{PORT}\n}}\n"
        )
        argv = [str(binary), "-conf", str(file)]
        with running("CoreDNS, forwarding", argv, place, COREDNS_AT) as peer:
            yield peer


@contextmanager
def running(name: str, argv: list[str], place: Place, target: Target) -> Iterator[Peer]:
    """Run a program that answers at the target; its end is that of its children."""
    with scratch_directory() as directory, scratch_cgroup() as cgroup:
        child = Child(
            argv[0].rpartition("/")[2],
            argv,
            directory,
            cgroup=cgroup,
            netns=place.netns,
        )

        def connect() -> bool:
            child.must_run()
            where = (target.address, target.port)
            socket.create_connection(where, timeout=1).close()
            return True

        try:
            wait_until(lambda: place.netns.call(connect), f"{name} listens")
            yield Peer(name, place.netns, cgroup, target)
        finally:
            child.kill()
