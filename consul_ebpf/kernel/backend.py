"""`BccMapBackend`: reads and writes the kernel's tables. BCC is not in this process."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Network
from pathlib import Path
from typing import Self

from consul_ebpf.base.boundary import boundary
from consul_ebpf.kernel import codec, host, libbpf, unprivileged
from consul_ebpf.kernel.askers import Askers
from consul_ebpf.kernel.bpffs import ensure_bpffs
from consul_ebpf.kernel.diff import Changes, diff
from consul_ebpf.kernel.install import install
from consul_ebpf.kernel.installed import Installed
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT, DNS, Program
from consul_ebpf.kernel.tables import Found, decode_rows, rows_of, slot_key
from consul_ebpf.kernel.watchdog import mend
from consul_ebpf.model.errors import KernelError, TableFullError
from consul_ebpf.model.seams import Applied
from consul_ebpf.model.values import (
    KernelState,
    Preference,
    SlottedServer,
    Table,
    Vip,
)

_WRITING = "writing the tables failed; trying again"


class BccMapBackend:
    """The kernel's tables. Make one with `open`; close it, or use it with `with`.

    Its pins and links stay when it is closed; `detach` removes them. Once open, it
    needs only the capabilities that `capabilities_to_keep` returns, on old kernels.
    """

    def __init__(
        self, pins: Pins, installed: Installed, askers: Askers | None = None
    ) -> None:
        """Own these locked pins, and what was installed there; use `open`."""
        self._pins = pins
        self._installed = installed
        self._servers = installed.tables["servers"]
        self._vips = installed.tables["vips"]
        self._askers = askers
        self._have: Table | None = None
        self._read: tuple[Found, KernelState] | None = None
        """The rows that were read last, and what they were decoded to."""

    def __repr__(self) -> str:
        return f"<BccMapBackend {self._pins.current} capacity={self.capacity}>"

    @classmethod
    def open(
        cls,
        *,
        cgroup: str = "auto",
        bpffs: str = "/sys/fs/bpf",
        vip_cidr: str = "127.64.0.0/10",
        vip_port: int = 8502,
        retry_window: float = 35.0,
        max_proxies: int = 65536,
    ) -> Self:
        """Load the program, attach it and open the tables; reuse what is pinned.

        A restart keeps tables, counters and cursors and swaps the program in one
        step; so does an upgrade or a downgrade with another layout of the tables, or
        another `max_proxies`: new tables are made and filled first. The keywords are
        those of `[kernel]` in the configuration.

        Raises:
            UnsupportedError: a subclass says which privilege, mount or feature is
                missing.
            AlreadyRunningError: another controller runs on this host.
            ConfigError: more proxies are in the table than `max_proxies`.
            KernelError: other programs are in the way; they are named.
        """
        defines = codec.defines(
            IPv4Network(vip_cidr), vip_port, retry_window, max_proxies
        )
        return cls._install(CONNECT.sized(vips=max_proxies), cgroup, bpffs, defines)

    @classmethod
    def open_dns(
        cls,
        *,
        vip: Vip,
        server_port: int = 8600,
        cgroups: Sequence[str] = (),
        cgroup: str = "auto",
        bpffs: str = "/sys/fs/bpf",
    ) -> Self:
        """Load and attach the DNS program, which has pins and tables of its own.

        The tables given to `apply` have this one VIP, and servers whose `service` has
        `server_port`.

        Args:
            vip: the address that is asked, by UDP or TCP.
            server_port: the DNS port of every server.
            cgroups: cgroup v2 directories; only processes in or below one of them may
                ask. A directory may be made later. Empty: every process may ask.
            cgroup: as for `open`.
            bpffs: as for `open`.

        Raises:
            ConsulEbpfError: as `open`; UnsupportedError also where Linux is older than
                5.8.
        """
        defines = codec.dns_defines(vip, server_port, limited=bool(cgroups))
        return cls._install(DNS, cgroup, bpffs, defines, cgroups)

    @classmethod
    def _install(
        cls,
        program: Program,
        cgroup: str,
        bpffs: str,
        defines: Mapping[str, int],
        cgroups: Sequence[str] | None = None,
    ) -> Self:
        with ExitStack() as undo, boundary(KernelError, f"attaching by {bpffs} failed"):
            directory = host.find_cgroup(cgroup)
            ensure_bpffs(Path(bpffs))
            pins = Pins(Path(bpffs), program)
            pins.lock()
            undo.callback(pins.unlock)
            installed = install(pins, directory, defines)
            undo.callback(installed.close)
            askers = None
            if cgroups is not None:
                askers = Askers(installed.tables["cgroups"], cgroups)
                askers.update()
            undo.pop_all()
        return cls(pins, installed, askers)

    @property
    def cgroup(self) -> Path:
        """The cgroup v2 directory the program is attached at."""
        return self._installed.cgroup

    @property
    def capacity(self) -> int:
        """How many VIPs fit."""
        return self._vips.info.max_entries

    def capabilities_to_keep(self) -> Mapping[str, str]:
        """Return the capabilities this still needs, with reasons; mostly none."""
        return unprivileged.to_keep(self._servers.fd)

    def apply(self, table: Table, among: Collection[Vip] | None = None) -> Applied:
        """Make the kernel's tables equal `table`; see `MapBackend.apply`."""
        if len(table.vips) > self.capacity:
            raise TableFullError(
                f"{len(table.vips)} proxies do not fit the VIP table of "
                f"{self.capacity}: raise kernel.max_proxies"
            )
        have = self._have
        if have is None:
            have, among = self.read().table, None
        changes = diff(have, table, among)
        self._have = None  # unknown after a failure: the next apply reads the tables
        with boundary(KernelError, _WRITING):
            self._write(changes, have, table)
        self._have = table
        return changes.applied

    def _write(self, changes: Changes, have: Table, want: Table) -> None:
        for entry in changes.servers_fill:
            key = slot_key(entry.slot)
            self._servers.update(key, codec.encode_server(entry, empty=True))
            self._servers.update(key, codec.encode_server(entry))
        self._change_states(changes.servers_ready)
        for vip in changes.vips_remove:
            self._vips.delete(codec.encode_key(vip))
        self._put_vips(changes.vips_put, have, want)
        if changes.grace:
            libbpf.wait_for_readers()
        self._change_states(changes.servers_unready)
        for slot in changes.servers_empty:
            self._servers.update(slot_key(slot), codec.EMPTY_SERVER)

    def _put_vips(
        self, put: Mapping[Vip, Preference], have: Table, want: Table
    ) -> None:
        """Write VIPs' rows: new ones in batches, each other one right after reading it.

        The program notes a connect's socket in the row. If it does so between the read
        and the write, the note is lost, so nothing else is done between these two.
        """
        fresh = []
        for vip, preference in put.items():
            if vip not in have.vips:
                fresh.append(vip)
                continue
            key = codec.encode_key(vip)
            row = self._vips.lookup(key)
            binding = want.bindings.get(vip, codec.UNBOUND)
            self._vips.update(key, codec.encode_vip(preference, row, binding))
        self._vips.update_many(
            (
                codec.encode_key(vip),
                codec.encode_vip(put[vip], None, want.bindings.get(vip, codec.UNBOUND)),
            )
            for vip in fresh
        )

    def _change_states(self, entries: Iterable[SlottedServer]) -> None:
        """Write each row once; a connect counted at this very moment may be lost."""
        for entry in entries:
            key = slot_key(entry.slot)
            have = self._servers.lookup(key)
            self._servers.update(key, codec.encode_server(entry, have))

    def read(self) -> KernelState:
        """Read tables and counters from the kernel."""
        with boundary(KernelError, "reading the tables failed"):
            rows = rows_of(self._installed.tables)
        known = self._read
        if known is None or known[0] != rows:  # decoding is most of the work
            known = self._read = rows, decode_rows(rows, self.capacity)
        return known[1]

    def stay(self, vips: Iterable[Vip]) -> None:
        """Send each VIP's next connect where its last went; see `MapBackend.stay`."""
        with boundary(KernelError, _WRITING):
            for vip in vips:
                key = codec.encode_key(vip)
                row = self._vips.lookup(key)
                if row is not None:
                    self._vips.update(key, codec.staying(row))

    def mend(self) -> tuple[str, ...]:
        """Put back links and pins that are missing; see `MapBackend.mend`."""
        with boundary(KernelError, f"{self._pins.root} cannot be looked at"):
            if self._askers is not None:
                self._askers.update()
            return mend(self._pins, self._installed)

    def close(self) -> None:
        """Close the tables and unlock the host; the program stays attached."""
        self._installed.close()
        self._pins.unlock()

    def detach(self) -> None:
        """Remove links and tables; VIPs then fail locally. Closes this backend."""
        with boundary(KernelError, f"{self._pins.root} cannot be removed"):
            self._pins.remove()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
