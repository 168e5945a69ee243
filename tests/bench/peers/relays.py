"""Ways of an xDS stream to one real server in a network namespace."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from consul_ebpf import BccMapBackend, Server, ServerState, SlottedServer, Table, Vip
from tests.bench.peers.peer import VIRTUAL, VIRTUAL_PORT, Peer, Target
from tests.bench.peers.resolvers import SERVER, Place, running
from tests.bench.xds.registered import NODE, SMALL, caller_of, proxy_of
from tests.lab.consul import GRPC_PORT
from tests.lab.go_build import PartMissingError
from tests.lab.scratch import scratch_bpffs, scratch_cgroup, scratch_directory

DATAPLANE = Target("127.0.0.1", 8505)
"""Where its xDS proxy listens."""


@contextmanager
def server_itself(place: Place) -> Iterator[Peer]:
    """Connect to the server: nothing can be faster."""
    with scratch_cgroup() as cgroup:
        yield Peer("the server itself", place.netns, cgroup, Target(SERVER, GRPC_PORT))


@contextmanager
def consul_ebpf(place: Place) -> Iterator[Peer]:
    """Connect to a VIP, which our program leads to the server."""
    vip = Vip(IPv4Address(VIRTUAL), VIRTUAL_PORT)
    row = SlottedServer(0, Server.at(SERVER, GRPC_PORT), ServerState.READY)
    with (
        scratch_cgroup() as cgroup,
        scratch_bpffs() as bpffs,
        BccMapBackend.open(cgroup=str(cgroup), bpffs=str(bpffs)) as backend,
    ):
        backend.apply(Table({0: row}, {vip: (0,)}))
        target = Target(VIRTUAL, VIRTUAL_PORT)
        yield Peer("consul-ebpf", place.netns, cgroup, target, bpffs)


@contextmanager
def consul_dataplane(place: Place) -> Iterator[Peer]:
    """Connect to a consul-dataplane, which passes each message on.

    Its Envoy is a process that sleeps.

    Raises:
        PartMissingError: its binary was not given.
    """
    if place.dataplane is None:
        raise PartMissingError("no consul-dataplane: set CONSUL_DATAPLANE_BIN")
    with scratch_directory() as directory:
        envoy = directory / "envoy"
        envoy.write_text("#!/bin/sh\nexec sleep infinity\n")
        envoy.chmod(0o755)
        flags = {
            "-addresses": SERVER,
            "-grpc-port": GRPC_PORT,
            "-proxy-id": proxy_of(caller_of(SMALL)),
            "-proxy-node-name": NODE,
            "-envoy-executable-path": envoy,
            "-xds-bind-addr": DATAPLANE.address,
            "-xds-bind-port": DATAPLANE.port,
            "-log-level": "warn",
        }
        argv = [str(place.dataplane), "-tls-disabled"]
        argv += [str(word) for flag in flags.items() for word in flag]
        with running("consul-dataplane", argv, place, DATAPLANE) as peer:
            yield peer
