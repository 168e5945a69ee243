"""Tries the whole way to a server: connects to it through a VIP of our own.

The VIP is one that no proxy has, bound to this network namespace. If a program is
attached, the trial adds the VIP to its tables. Else it attaches a program of its own
for a moment, without pins, so that it is gone with this process.
"""

import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path

from consul_ebpf.base.boundary import boundary
from consul_ebpf.kernel import codec, host, objects, sockets
from consul_ebpf.kernel.install import load
from consul_ebpf.kernel.links import attach, programs_at
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT
from consul_ebpf.kernel.scratch import inside, remove_left, scratch_pins
from consul_ebpf.kernel.tables import (
    Tables,
    close_tables,
    make_tables,
    of_this_layout,
    read_tables,
    slot_key,
)
from consul_ebpf.model.errors import KernelError, NotRunningError
from consul_ebpf.model.values import (
    GRPC,
    Binding,
    Server,
    ServerState,
    SlottedServer,
    Vip,
    host_port,
)

CONNECT_SECONDS = 3.0

_SO_COOKIE = 57
_OWN_TABLE = 512  # VIPs in a table of our own


@dataclass(frozen=True, slots=True)
class Reached:
    """The result of one connect to the VIP."""

    seen: bool
    """Whether our program saw it and sent it to the server."""
    peer: str
    """What the kernel says the socket is connected to; empty: nothing."""
    error: str
    """Why connect() failed; empty if it did not."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to try it, as `[kernel]` of the configuration has it."""

    bpffs: Path
    cgroup: Path
    """Where to attach a program if none is attached."""
    network: IPv4Network
    """The range of the VIPs."""
    port: int
    """The VIPs' port."""


class Trial:
    """VIPs of our own, in the tables that an attached program uses."""

    def __init__(
        self, tables: Tables, place: Place, cgroup: Path, programs: Collection[int]
    ) -> None:
        """Use these tables of programs with these ids, at `cgroup`; use `trial`."""
        self._tables = tables
        self._programs = tuple(f"program {number}" for number in programs)
        self._netns = Binding()
        with suppress(OSError):  # before Linux 5.14: anybody may use it for this moment
            self._netns = Binding(netns=sockets.own_netns_cookie())
        self._free = _free(tables, place)
        self._made: list[bytes] = []
        self.cgroup = cgroup

    def __repr__(self) -> str:
        return f"<Trial {len(self._made)} VIPs at {self.cgroup}>"

    def vip_to(self, server: Server) -> Server | None:
        """Make a VIP that leads to this server only.

        Returns:
            The VIP, to connect to it as to a server; None if the server has no row that
            is ready.

        Raises:
            KernelError: there is no free VIP.
        """
        rows = read_tables(self._tables).table.servers
        slots = [
            slot
            for slot, entry in rows.items()
            if entry.endpoint == GRPC.endpoint_of(server)
            and entry.state is ServerState.READY
        ]
        if not slots:
            return None
        vip = next(self._free, None)
        if vip is None:
            raise KernelError("every VIP at the end of kernel.vip_cidr is taken")
        key = codec.encode_key(vip)
        self._made.append(key)
        row = codec.encode_vip((slots[0],), None, self._netns)
        self._tables["vips"].update(key, row)
        literal = f"{vip.address}" if server.ipv4 else f"::ffff:{vip.address}"
        return Server.at(literal, vip.port)

    def connect(self, vip: Server) -> Reached:
        """Connect once to the newest VIP, and look where the connect went."""
        family = socket.AF_INET if vip.ipv4 else socket.AF_INET6
        with socket.socket(family) as sock:
            sock.settimeout(CONNECT_SECONDS)
            error = ""
            try:
                sock.connect((str(vip.address), vip.port))
            except OSError as failed:
                error = failed.strerror or str(failed)
            packed = sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
            (cookie,) = struct.unpack("=Q", packed)
            peer = None if error else sockets.peer_here(cookie)
            return Reached(self._has_seen(cookie), _as_text(peer), error)

    def _has_seen(self, cookie: int) -> bool:
        row = self._tables["vips"].lookup(self._made[-1])
        if row is None:
            return False
        counted = codec.decode_vip_counters(row)
        return any(noted == cookie for noted, _slot in counted.sockets)

    def others(self) -> list[str]:
        """Return the names of others' programs that run for our cgroup at our hooks."""
        kinds = CONNECT.hooks.values()
        found = [name for kind in kinds for name in programs_at(kind, self.cgroup)]
        return [
            name for name in found if " ".join(name.split()[:2]) not in self._programs
        ]

    def remove(self) -> None:
        """Remove the VIPs, except those that a controller has given to a proxy."""
        for key in self._made:
            row = self._tables["vips"].lookup(key)
            if row is not None and codec.decode_binding(row) == self._netns:
                self._tables["vips"].delete(key)


@contextmanager
def trial(place: Place, servers: Sequence[Server]) -> Iterator[Trial]:
    """Yield a `Trial`, in the attached program's tables or else in our own.

    Args:
        place: where to try it.
        servers: the rows of our own table, if no program is attached.

    Raises:
        ConsulEbpfError: it cannot be tried here; the message says why.
    """
    with ExitStack() as stack:
        with boundary(KernelError, "no connect can be tried"):
            remove_left(place.bpffs, place.cgroup)
            made = _live(stack, place) or _own(stack, place, servers)
            stack.callback(made.remove)
            stack.enter_context(inside(made.cgroup))
        yield made


def _live(stack: ExitStack, place: Place) -> Trial | None:
    """Use the attached program's tables; None if none is attached."""
    pins = Pins(place.bpffs)
    with suppress(NotRunningError):
        tables = pins.open_tables()
        stack.callback(close_tables, tables)
        links = pins.links().values()
        cgroup = host.cgroup_path(max((each.cgroup_id for each in links), default=0))
        if cgroup is not None and not of_this_layout(CONNECT, tables):
            raise KernelError("another version's program is attached: restart it first")
        if cgroup is not None:
            return Trial(tables, place, cgroup, {each.program_id for each in links})
    return None


def _own(stack: ExitStack, place: Place, servers: Sequence[Server]) -> Trial:
    """Attach a program of our own, with its own tables, until `stack` is closed."""
    program = CONNECT.sized(vips=_OWN_TABLE)
    with scratch_pins(place.bpffs) as directory:
        tables = make_tables(program, directory)
        stack.callback(close_tables, tables)
        defines = codec.defines(place.network, place.port, 1.0, _OWN_TABLE)
        programs = load(program, defines, directory, directory)
    for descriptor in programs.values():
        stack.callback(os.close, descriptor)
    for slot, server in enumerate(servers[: codec.NO_SLOT]):
        row = codec.encode_server(SlottedServer(slot, server, ServerState.READY))
        tables["servers"].update(slot_key(slot), row)
    for hook, descriptor in programs.items():
        link = attach(descriptor, hook, program.hooks[hook], place.cgroup)
        stack.callback(os.close, link)
    ids = {objects.program_info(descriptor).id for descriptor in programs.values()}
    return Trial(tables, place, place.cgroup, ids)


def _free(tables: Tables, place: Place) -> Iterator[Vip]:
    """Yield VIPs that no proxy has, from the end of the range: these are given last."""
    taken = {codec.decode_key(key) for key, _row in tables["vips"].items()}
    last = int(place.network.broadcast_address) - 1
    first = max(int(place.network.network_address) + 1, last - 2 * _OWN_TABLE)
    for number in range(last, first - 1, -1):
        vip = Vip(IPv4Address(number), place.port)
        if vip not in taken:
            yield vip


def _as_text(peer: tuple[str, int] | None) -> str:
    if peer is None:
        return ""
    address = ip_address(peer[0])
    return host_port(getattr(address, "ipv4_mapped", None) or address, peer[1])
