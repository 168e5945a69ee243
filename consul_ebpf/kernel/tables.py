"""Makes, opens, checks and reads a program's tables; copies rows to a new layout."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from consul_ebpf.kernel import codec, libbpf, objects
from consul_ebpf.kernel.maps import Map
from consul_ebpf.kernel.packed import Packed, VipRows
from consul_ebpf.kernel.program import Program, TableShape
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import KernelState, Table, Vip, VipCounters

Tables = dict[str, Map]
"""By name."""

Rows = dict[str, dict[bytes, bytes]]
"""All rows of each table, by key."""


def make_tables(
    program: Program, directory: Path, old: Mapping[str, Map] | None = None
) -> Tables:
    """Make empty tables, and pin them in a directory.

    If the `old` one of a table whose rows are not carried fits, it is pinned instead.

    Raises:
        OSError: the kernel refused it.
    """
    tables: Tables = {}
    try:
        for name, shape in program.tables.items():
            there = (old or {}).get(name)
            if there is None or shape.carried or not shape.fits(there.info):
                tables[name] = Map(libbpf.map_create(name, shape))
            else:
                tables[name] = Map(os.dup(there.fd))
            libbpf.obj_pin(tables[name].fd, directory / name)
    except BaseException:
        close_tables(tables)
        raise
    return tables


def open_tables(program: Program, directory: Path) -> Tables:
    """Open pinned tables, of this layout or another.

    A table whose rows are not carried may be missing: another version may not have it.

    Raises:
        OSError: a pin is missing or cannot be opened.
        ValueError: a pin is not that table; the message says why.
    """
    tables: Tables = {}
    try:
        for name, shape in program.tables.items():
            if not shape.carried and not (directory / name).exists():
                continue
            tables[name] = Map.pinned(directory / name)
            _check(name, shape, tables[name].info)
    except BaseException:
        close_tables(tables)
        raise
    return tables


def _check(name: str, shape: TableShape, info: objects.MapInfo) -> None:
    """Raise ValueError if a map cannot be this table, in this layout or another."""
    wrong = ""
    if info.type != shape.kind:
        wrong = f"it is of type {info.type}"
    elif info.key_size != shape.key:
        wrong = f"its keys have {info.key_size} bytes"
    elif info.value_size < shape.first_value:
        wrong = f"its rows have {info.value_size} bytes"
    elif shape.kind == libbpf.ARRAY and info.max_entries != shape.entries:
        wrong = f"it has {info.max_entries} rows"
    if wrong:
        raise ValueError(f"{name} is not our table: {wrong}")


def fit_program(program: Program, tables: Mapping[str, Map]) -> bool:
    """Whether these tables have the layout and the size that the program uses."""
    shapes = program.tables
    return all(
        name in tables and shapes[name].fits(tables[name].info) for name in shapes
    )


def of_this_layout(program: Program, tables: Mapping[str, Map]) -> bool:
    """Whether these tables have the layout that the program uses, in whatever size."""
    shapes = program.tables
    return all(tables[name].info.value_size == shapes[name].value for name in shapes)


def close_tables(tables: Mapping[str, Map]) -> None:
    """Close all tables; what is pinned stays."""
    for opened in tables.values():
        opened.close()


def tables_of(program: Program, loaded: int) -> Tables | None:
    """Open the tables that a loaded program uses, by their ids, whatever is pinned.

    Returns:
        The tables; None if they cannot be opened, such as without CAP_SYS_ADMIN, or are
        not the program's.
    """
    tables: Tables = {}
    try:
        for number in objects.program_info(loaded).maps:
            opened = Map(objects.map_fd(number))
            tables[opened.info.name] = opened
        for name, shape in program.tables.items():
            if shape.carried or name in tables:
                _check(name, shape, tables[name].info)
    except (OSError, KeyError, ValueError):
        close_tables(tables)
        return None
    return tables


def carry(
    program: Program, old: Mapping[str, Map], new: Mapping[str, Map], carried: Rows
) -> Rows:
    """Copy the rows of `old` to `new` that have changed since the call before.

    Args:
        program: whose tables they are.
        old: the tables to read.
        new: the tables to write.
        carried: what the call before returned; empty at first.

    Returns:
        All rows of `old`, for the next call.

    Raises:
        ConfigError: the rows do not fit into `new`.
        OSError: the kernel refused it.
    """
    names = [name for name, shape in program.tables.items() if shape.carried]
    rows: Rows = {name: dict(old[name].items()) for name in names}
    for name in names:
        table = new[name]
        room = table.info.max_entries
        if len(rows[name]) > room:
            raise ConfigError(
                f"kernel.max_proxies is {room}, but {len(rows[name])} proxies are in "
                "the table now: raise it, or remove the table with the detach command "
                "first"
            )
        before, size = carried.get(name, {}), table.info.value_size
        table.update_many(
            (key, codec.fit(row, size))
            for key, row in rows[name].items()
            if key not in before
        )
        for key, row in rows[name].items():
            if key not in before or before[key] == row:
                continue
            # If the new program has written to the row since, its row is the newer one.
            if table.lookup(key) == codec.fit(before[key], size):
                table.update(key, codec.fit(row, size))
    return rows


def slot_key(slot: int) -> bytes:
    """Encode a slot as the key of the `servers` table."""
    return slot.to_bytes(4, sys.byteorder)


def slot_of(key: bytes) -> int:
    """Decode a key of the `servers` table."""
    return int.from_bytes(key, sys.byteorder)


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of the tables that `decode_rows` decodes."""

    servers: Packed
    vips: Packed
    connected: Packed | None
    """None: the program has no such table."""


def rows_of(tables: Mapping[str, Map]) -> Found:
    """Read all rows of these tables.

    Raises:
        OSError: the kernel refused it.
    """
    connected = tables.get("connected")
    return Found(
        _packed(tables["servers"]),
        _packed(tables["vips"]),
        _packed(connected) if connected is not None else None,
    )


def _packed(table: Map) -> Packed:
    return Packed.of(table.columns(), table.info.key_size, table.info.value_size)


def read_tables(tables: Mapping[str, Map]) -> KernelState:
    """Read a program's opened tables, of whatever layout; raises OSError."""
    return decode_rows(rows_of(tables), tables["vips"].info.max_entries)


def decode_rows(found: Found, capacity: int) -> KernelState:
    """Decode the rows of a program's tables.

    The sockets are in the VIPs' rows; those of DNS are in `connected`.
    """
    rows, counts = {}, {}
    for at in range(len(found.servers)):
        slot = slot_of(found.servers.key(at))
        data = codec.fit(found.servers.value(at), codec.SERVER.size)
        entry = codec.decode_server(slot, data)
        if entry is not None:
            rows[slot] = entry
            counts[slot] = codec.decode_counters(data)
    counters: Mapping[Vip, VipCounters] = VipRows(found.vips, codec.decode_vip_counters)
    if found.connected is not None:
        noted = tuple(
            codec.CONNECTED.unpack(found.connected.key(at) + found.connected.value(at))
            for at in range(len(found.connected))
        )
        counters = {vip: replace(each, sockets=noted) for vip, each in counters.items()}
    bindings = VipRows(found.vips, codec.decode_binding)
    return KernelState(
        table=Table(
            servers=rows,
            vips=VipRows(found.vips, codec.decode_preference),
            bindings={vip: binding for vip, binding in bindings.items() if binding},
        ),
        servers=counts,
        vips=counters,
        capacity=capacity,
    )
