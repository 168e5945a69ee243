"""The two tables as maps: made, opened and checked, read, carried to a new layout."""

import sys
from collections.abc import Mapping
from pathlib import Path

from consul_ebpf.kernel import codec, libbpf
from consul_ebpf.kernel.maps import Map
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import KernelState, Table

Tables = dict[str, Map]
"""By name: `servers` and `vips`."""

Rows = dict[str, dict[bytes, bytes]]
"""All rows of each table, by key."""

_HASH, _ARRAY = 1, 2  # enum bpf_map_type
_NO_PREALLOC = 1  # memory as it is used, not for all VIPs at once

SHAPES = {
    "servers": libbpf.MapShape(_ARRAY, 4, codec.SERVER.size),
    "vips": libbpf.MapShape(_HASH, codec.VIP_KEY.size, codec.VIP.size, _NO_PREALLOC),
}

FIRST_ROWS = {"servers": 32, "vips": 64}
"""Bytes of a row in layout 1: no layout has smaller ones."""


def make_tables(directory: Path, max_vips: int) -> Tables:
    """Make empty tables and pin them."""
    tables: Tables = {}
    entries = {"servers": codec.SLOTS, "vips": max_vips}
    try:
        for name, shape in SHAPES.items():
            tables[name] = Map(libbpf.map_create(name, shape, entries[name]))
            libbpf.obj_pin(tables[name].fd, directory / name)
    except BaseException:
        close_tables(tables)
        raise
    return tables


def open_tables(directory: Path) -> Tables:
    """Open pinned tables, of this layout or another.

    Raises:
        OSError: a pin is missing or cannot be opened.
        ValueError: a pin is not that table; in words.
    """
    tables: Tables = {}
    try:
        for name in SHAPES:
            tables[name] = Map.pinned(directory / name)
            _check(name, tables[name].info)
    except BaseException:
        close_tables(tables)
        raise
    return tables


def _check(name: str, info: libbpf.MapInfo) -> None:
    """Raise ValueError if a map is not that table."""
    shape, wrong = SHAPES[name], ""
    if info.type != shape.kind:
        wrong = f"it is of type {info.type}"
    elif info.key_size != shape.key:
        wrong = f"its keys have {info.key_size} bytes"
    elif info.value_size < FIRST_ROWS[name]:
        wrong = f"its rows have {info.value_size} bytes"
    elif name == "servers" and info.max_entries != codec.SLOTS:
        wrong = f"it has {info.max_entries} rows"
    if wrong:
        raise ValueError(f"{name} is not our table: {wrong}")


def of_this_layout(tables: Mapping[str, Map]) -> bool:
    """Whether this version's program can use them."""
    return all(tables[name].info.value_size == SHAPES[name].value for name in SHAPES)


def close_tables(tables: Mapping[str, Map]) -> None:
    """Close them all; what is pinned lives on."""
    for opened in tables.values():
        opened.close()


def tables_of(program: int) -> Tables | None:
    """Open the tables a program really uses, whatever is pinned; by their ids.

    None if they are not to be had: CAP_SYS_ADMIN is needed.
    """
    tables: Tables = {}
    try:
        for number in libbpf.program_info(program).maps:
            opened = Map(libbpf.map_fd(number))
            tables[opened.info.name] = opened
        for name in SHAPES:
            _check(name, tables[name].info)
    except (OSError, KeyError, ValueError):
        close_tables(tables)
        return None
    return tables


def carry(old: Mapping[str, Map], new: Mapping[str, Map], carried: Rows) -> Rows:
    """Write into `new` the rows of `old` that are not what was `carried` already.

    Returns:
        All rows of `old`, to be given to the next call.

    Raises:
        ConfigError: they do not fit.
    """
    rows: Rows = {name: dict(old[name].items()) for name in SHAPES}
    room = new["vips"].info.max_entries
    if len(rows["vips"]) > room:
        raise ConfigError(
            f"kernel.max_proxies is {room}, but {len(rows['vips'])} proxies are in the "
            "table now: raise it, or remove the table with the detach command first"
        )
    for name, table in new.items():
        before, size = carried.get(name, {}), table.info.value_size
        table.update_many(
            (key, codec.fit(row, size))
            for key, row in rows[name].items()
            if key not in before
        )
        for key, row in rows[name].items():
            if key not in before or before[key] == row:
                continue
            # What the new program has counted and noted since is newer.
            if table.lookup(key) == codec.fit(before[key], size):
                table.update(key, codec.fit(row, size))
    return rows


def slot_key(slot: int) -> bytes:
    """Encode a slot as the key of the `servers` table."""
    return slot.to_bytes(4, sys.byteorder)


def read_tables(tables: Mapping[str, Map]) -> KernelState:
    """Read opened tables, of whatever layout; raises OSError."""
    rows, counts = {}, {}
    for slot in range(codec.SLOTS):
        data = tables["servers"].lookup(slot_key(slot)) or codec.EMPTY_SERVER
        data = codec.fit(data, codec.SERVER.size)
        entry = codec.decode_server(slot, data)
        if entry is not None:
            rows[slot] = entry
            counts[slot] = codec.decode_counters(data)
    entries = [
        (codec.decode_key(key), codec.fit(row, codec.VIP.size))
        for key, row in tables["vips"].items()
    ]
    bindings = {vip: codec.decode_binding(row) for vip, row in entries}
    return KernelState(
        table=Table(
            servers=rows,
            vips={vip: codec.decode_preference(row) for vip, row in entries},
            bindings={vip: binding for vip, binding in bindings.items() if binding},
        ),
        servers=counts,
        vips={vip: codec.decode_vip_counters(row) for vip, row in entries},
    )
