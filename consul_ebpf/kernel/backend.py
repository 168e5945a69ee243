"""`BccMapBackend`: the tables in the kernel, by pins, without BCC in this process."""

import functools
import sys
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Self

from consul_ebpf._errors import ConfigError, KernelError, TableFullError
from consul_ebpf._protocols import Applied
from consul_ebpf._values import KernelState, SlottedServer, Table
from consul_ebpf.kernel import codec, host, libbpf
from consul_ebpf.kernel.diff import Changes, diff
from consul_ebpf.kernel.loading import load_program, source_path
from consul_ebpf.kernel.pins import Pins


class BccMapBackend:
    """The kernel's tables. Make one with `open`; close it, or use it with `with`.

    What it pinned and attached stays when it is closed; `detach` removes that.
    """

    def __init__(self, pins: Pins, tables: dict[str, libbpf.Map], cgroup: Path) -> None:
        """Take over locked pins and opened tables; see `open`."""
        self._pins = pins
        self.cgroup = cgroup
        """The cgroup v2 directory the program is attached at."""
        self._servers = tables["servers"]
        self._vips = tables["vips"]
        self._have: Table | None = None

    def __repr__(self) -> str:
        return f"<BccMapBackend {self._pins.current} capacity={self.capacity}>"

    @classmethod
    def open(
        cls,
        *,
        cgroup: str = "auto",
        bpffs: str = "/sys/fs/bpf",
        vip_cidr: str = "127.64.0.0/10",
        retry_window: float = 35.0,
        max_proxies: int = 65536,
    ) -> Self:
        """Load the program, attach it and open the tables; reuse what is pinned.

        A restart keeps tables, counters and cursors and swaps the program in one
        step. The keywords are those of `[kernel]` in the configuration.

        Raises:
            UnsupportedError: a subclass says which privilege, mount or feature is
                missing.
            AlreadyRunningError: another controller holds the host.
        """
        directory = host.find_cgroup(cgroup)
        host.ensure_bpffs(Path(bpffs))
        pins = Pins(Path(bpffs))
        pins.lock()
        try:
            job = functools.partial[dict[str, Any]](
                dict,
                source=str(source_path()),
                defines=codec.defines(IPv4Network(vip_cidr), retry_window, max_proxies),
                cgroup=str(directory),
            )
            if pins.current.exists():
                _check_capacity(pins, max_proxies)
                at = str(pins.current)
                load_program(job(tables=at, links=at))
                pins.discard_staging()
            else:
                at = str(pins.new_staging())
                load_program(job(tables=at, links=at))
                pins.publish()
            return cls(pins, pins.open_tables(), directory)
        except BaseException:
            pins.discard_staging()
            pins.unlock()
            raise

    @property
    def capacity(self) -> int:
        """How many VIPs fit."""
        return self._vips.info.max_entries

    def apply(self, table: Table) -> Applied:
        """Make the kernel's tables equal `table`; see `MapBackend.apply`."""
        if len(table.vips) > self.capacity:
            raise TableFullError(
                f"{len(table.vips)} proxies do not fit the VIP table of "
                f"{self.capacity}: raise kernel.max_proxies"
            )
        have = self._have if self._have is not None else self.read().table
        changes = diff(have, table)
        self._have = None  # a failure leaves us not knowing: the next apply reads
        try:
            self._write(changes, have)
        except OSError as error:
            raise KernelError(
                f"writing the tables failed: {error.strerror or error}; trying again"
            ) from error
        self._have = table
        return changes.applied

    def _write(self, changes: Changes, have: Table) -> None:
        for entry in changes.servers_fill:
            key = _slot_key(entry.slot)
            self._servers.update(key, codec.encode_server(entry, empty=True))
            self._servers.update(key, codec.encode_server(entry))
        self._change_states(changes.servers_ready)
        for vip in changes.vips_remove:
            self._vips.delete(codec.encode_key(vip))
        keys = {vip: codec.encode_key(vip) for vip in changes.vips_put}
        self._vips.update_many(
            (
                keys[vip],
                codec.encode_vip(
                    preference,
                    self._vips.lookup(keys[vip]) if vip in have.vips else None,
                ),
            )
            for vip, preference in changes.vips_put.items()
        )
        if changes.grace:
            libbpf.wait_for_readers()
        self._change_states(changes.servers_unready)
        for slot in changes.servers_empty:
            self._servers.update(_slot_key(slot), codec.EMPTY_SERVER)

    def _change_states(self, entries: Iterable[SlottedServer]) -> None:
        """Write each row once; a connect counted at this very moment may be lost."""
        for entry in entries:
            key = _slot_key(entry.slot)
            have = self._servers.lookup(key)
            self._servers.update(key, codec.encode_server(entry, have))

    def read(self) -> KernelState:
        """Read tables and counters from the kernel."""
        try:
            return read_tables(self._servers, self._vips)
        except OSError as error:
            raise KernelError(f"reading the tables failed: {error}") from error

    def mend(self) -> tuple[str, ...]:
        """Look whether all is still in place; see `MapBackend.mend`."""
        return ()

    def close(self) -> None:
        """Close the tables and let another writer in; redirecting goes on."""
        for opened in (self._servers, self._vips):
            opened.close()
        self._pins.unlock()

    def detach(self) -> None:
        """Remove links and tables; VIPs then fail locally. Closes this backend."""
        self._pins.remove()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _slot_key(slot: int) -> bytes:
    return slot.to_bytes(4, sys.byteorder)


def _check_capacity(pins: Pins, wanted: int) -> None:
    """Refuse a pinned table of another size: the program would not fit it."""
    tables = pins.open_tables()
    size = tables["vips"].info.max_entries
    for opened in tables.values():
        opened.close()
    if size != wanted:
        raise ConfigError(
            f"kernel.max_proxies is {wanted}, but the pinned table holds {size}: "
            f"set max_proxies = {size}, or remove it with the detach command first"
        )


def read_tables(servers: libbpf.Map, vips: libbpf.Map) -> KernelState:
    """Read opened tables; raises OSError."""
    rows, counts = {}, {}
    for slot in range(codec.SLOTS):
        data = servers.lookup(_slot_key(slot)) or codec.EMPTY_SERVER
        entry = codec.decode_server(slot, data)
        if entry is not None:
            rows[slot] = entry
            counts[slot] = codec.decode_counters(data)
    entries = [(codec.decode_key(key), value) for key, value in vips.items()]
    return KernelState(
        table=Table(
            servers=rows,
            vips={vip: codec.decode_preference(value) for vip, value in entries},
        ),
        servers=counts,
        vips={vip: codec.decode_vip_counters(value) for vip, value in entries},
    )
