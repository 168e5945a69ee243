"""A connect through a VIP of our own: does the whole way to a server work from here?

By the tables and the program that are attached; where none are, by a program of its own
that is attached for this moment, with no pins, so that it is gone with the process. Its
VIP is one that no proxy has, bound to this network namespace.
"""

import os
import shutil
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

PREFIX = "consul-ebpf-doctor-"
"""Begins the names of directories that are there for a moment; the pid follows."""

_SO_COOKIE = 57
_OWN_TABLE = 512  # VIPs in a table of our own


@dataclass(frozen=True, slots=True)
class Reached:
    """What became of one connect to the VIP."""

    seen: bool
    """Whether our program saw it and sent it to the server."""
    peer: str
    """Where the socket leads by the kernel's own account; empty: nowhere."""
    error: str
    """Why connect() failed; empty: it did not."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pins are, where to attach if nothing is, and which the VIPs are."""

    bpffs: Path
    cgroup: Path
    network: IPv4Network
    port: int


class Trial:
    """VIPs of our own in tables that a program uses."""

    def __init__(
        self, tables: Tables, place: Place, cgroup: Path, programs: Collection[int]
    ) -> None:
        """Use these tables, of programs with these ids at `cgroup`; see `trial`."""
        self._tables = tables
        self._programs = tuple(f"program {number}" for number in programs)
        self._netns = Binding(netns=_own_netns())
        self._free = _free(tables, place)
        self._made: list[bytes] = []
        self.cgroup = cgroup

    def __repr__(self) -> str:
        return f"<Trial {len(self._made)} VIPs at {self.cgroup}>"

    def vip_to(self, server: Server) -> Server | None:
        """Make a VIP that leads to one server alone.

        Returns:
            What to connect to in its place; None: it has no row that is ready.

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
        """Connect to the newest VIP once, and look where that went."""
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
        """Name the other programs that run for our cgroup at our hooks."""
        kinds = CONNECT.hooks.values()
        found = [name for kind in kinds for name in programs_at(kind, self.cgroup)]
        return [
            name for name in found if " ".join(name.split()[:2]) not in self._programs
        ]

    def remove(self) -> None:
        """Take the VIPs away, but what somebody else has written by now."""
        for key in self._made:
            row = self._tables["vips"].lookup(key)
            if row is not None and codec.decode_binding(row) == self._netns:
                self._tables["vips"].delete(key)


@contextmanager
def trial(place: Place, servers: Sequence[Server]) -> Iterator[Trial]:
    """Have VIPs of our own, by what is attached or else by a program of our own.

    Args:
        place: where.
        servers: what a table of our own is filled with.

    Raises:
        ConsulEbpfError: there is no way to try it; says why.
    """
    with ExitStack() as stack:
        with boundary(KernelError, "no connect can be tried"):
            _sweep(place)
            made = _live(stack, place) or _own(stack, place, servers)
            stack.callback(made.remove)
            stack.enter_context(inside(made.cgroup))
        yield made


def _sweep(place: Place) -> None:
    """Remove what trials left that were killed outright."""
    for left in place.bpffs.glob(f"{PREFIX}*"):
        if _ended(left):
            shutil.rmtree(left, ignore_errors=True)
    for left in place.cgroup.glob(f"{PREFIX}*"):
        if _ended(left):
            with suppress(OSError):
                left.rmdir()


def _ended(left: Path) -> bool:
    pid = left.name.removeprefix(PREFIX)
    return not Path("/proc", pid).exists()


def _live(stack: ExitStack, place: Place) -> Trial | None:
    """Use what is attached; None: nothing is."""
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
    """Attach a program of our own, with tables of its own, until the end."""
    directory = place.bpffs / f"{PREFIX}{os.getpid()}"
    directory.mkdir(mode=0o700)
    try:
        program = CONNECT.sized(vips=_OWN_TABLE)
        tables = make_tables(program, directory)
        stack.callback(close_tables, tables)
        defines = codec.defines(place.network, place.port, 1.0, _OWN_TABLE)
        programs = load(program, defines, directory, directory)
    finally:
        shutil.rmtree(directory)
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
    """Yield VIPs that nobody has, from the range's end, where allocation comes last."""
    taken = {codec.decode_key(key) for key, _row in tables["vips"].items()}
    last = int(place.network.broadcast_address) - 1
    first = max(int(place.network.network_address) + 1, last - 2 * _OWN_TABLE)
    for number in range(last, first - 1, -1):
        vip = Vip(IPv4Address(number), place.port)
        if vip not in taken:
            yield vip


@contextmanager
def inside(cgroup: Path) -> Iterator[None]:
    """Be in or below a cgroup: as it is, or in one of our own for this moment.

    Raises:
        KernelError, OSError: this process cannot be moved there.
    """
    ours = own_cgroup()
    if ours is not None and ours.is_relative_to(cgroup):
        yield
        return
    if ours is None:
        raise KernelError(f"this process has no cgroup to come back to from {cgroup}")
    scratch = cgroup / f"{PREFIX}{os.getpid()}"
    scratch.mkdir()
    try:
        (scratch / "cgroup.procs").write_text(f"{os.getpid()}", encoding="ascii")
        try:
            yield
        finally:
            (ours / "cgroup.procs").write_text(f"{os.getpid()}", encoding="ascii")
    finally:
        scratch.rmdir()


def own_cgroup() -> Path | None:
    """Return this process's cgroup v2 directory; None if it cannot be seen."""
    lines = Path("/proc/self/cgroup").read_bytes().splitlines()
    found = [os.fsdecode(line[3:]) for line in lines if line.startswith(b"0::")]
    for mount in host.mounts():
        if mount.kind == "cgroup2" and mount.root == "/" and found:
            directory = mount.point / found[0].lstrip("/")
            if directory.is_dir():
                return directory
    return None


def _as_text(peer: tuple[str, int] | None) -> str:
    if peer is None:
        return ""
    address = ip_address(peer[0])
    return host_port(getattr(address, "ipv4_mapped", None) or address, peer[1])


def _own_netns() -> int:
    with socket.socket() as sock:
        try:
            packed = sock.getsockopt(socket.SOL_SOCKET, sockets.SO_NETNS_COOKIE, 8)
        except OSError:  # before Linux 5.14: anybody's, for this moment
            return 0
    return int(struct.unpack("=Q", packed)[0])
