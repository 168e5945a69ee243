"""`Map`: an opened map; keys and values are bytes."""

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Self

from consul_ebpf.base.steps import step
from consul_ebpf.kernel.libbpf import checked, lib, obj_get
from consul_ebpf.kernel.objects import map_info

_BATCH = 4096
_NO_WALK = 524  # the kernel's ENOTSUPP: a map whose keys are sockets


class Map:
    """An opened map with fixed key and value sizes. Not safe for two threads."""

    def __init__(self, fd: int) -> None:
        """Own this descriptor; `close` closes it."""
        self.fd = fd
        self.info = map_info(fd)

    def __repr__(self) -> str:
        return f"<Map fd={self.fd} {self.info}>"

    @classmethod
    def pinned(cls, path: Path) -> Self:
        """Open the map pinned at `path`.

        Raises:
            OSError: there is none, or what is pinned there is no map (EINVAL).
        """
        fd = obj_get(path)
        try:
            # Other objects have an info, too; only a map has keys.
            probe = lib().bpf_map_get_next_key(
                fd, None, ctypes.create_string_buffer(4096)
            )
            if probe < 0 and ctypes.get_errno() not in (errno.ENOENT, _NO_WALK):
                checked(-1, f"{path} is no table")
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Close the descriptor; a pinned map stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value of a key; None if there is none."""
        value = ctypes.create_string_buffer(self.info.value_size)
        if lib().bpf_map_lookup_elem(self.fd, key, value) < 0:
            if ctypes.get_errno() == errno.ENOENT:
                return None
            checked(-1, "look up a table entry")
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Write one entry; a reader sees the old or the new one."""
        step(f"write to {self.info.name}")
        result = lib().bpf_map_update_elem(self.fd, key, value, ctypes.c_uint64(0))
        checked(result, "write a table entry")

    def delete(self, key: bytes) -> None:
        """Remove one entry, if it is there."""
        step(f"remove a row of {self.info.name}")
        if lib().bpf_map_delete_elem(self.fd, key) < 0 and (
            ctypes.get_errno() != errno.ENOENT
        ):
            checked(-1, "remove a table entry")

    def update_many(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Write many entries, each as `update` does, in as few calls as possible."""
        coming = iter(entries)
        while batch := list(islice(coming, _BATCH)):
            count = ctypes.c_uint32(len(batch))
            step(f"write a batch to {self.info.name}")
            result = lib().bpf_map_update_batch(
                self.fd,
                b"".join(key for key, _ in batch),
                b"".join(value for _, value in batch),
                ctypes.byref(count),
                None,
            )
            if result < 0:
                # The kernel has no batches (before 5.6), or it refused one entry: write
                # them one by one, so that the error is that entry's own.
                for key, value in batch:
                    self.update(key, value)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all entries; those written meanwhile may or may not be among them."""
        keys, values = self.columns()
        return zip(
            _pieces(keys, self.info.key_size),
            _pieces(values, self.info.value_size),
            strict=True,
        )

    def columns(self) -> tuple[bytes, bytes]:
        """Read all entries: all keys, one behind the other, and their values.

        An object for each of 65,536 rows would take 20 MB for a moment.
        """
        found = self._batches()
        if found is None:
            rows = dict(self._walk())
            return b"".join(rows), b"".join(rows.values())
        return found

    def _batches(self) -> tuple[bytes, bytes] | None:
        """Read all entries in as few calls as possible; None if it has no batches."""
        size = min(self.info.max_entries, _BATCH)
        key, value = self.info.key_size, self.info.value_size
        keys = ctypes.create_string_buffer(size * key)
        values = ctypes.create_string_buffer(size * value)
        at = ctypes.create_string_buffer(max(key, 8))
        all_keys, all_values = bytearray(), bytearray()
        start = None
        while True:
            count = ctypes.c_uint32(size)
            result = lib().bpf_map_lookup_batch(
                self.fd, start, at, keys, values, ctypes.byref(count), None
            )
            done = result < 0 and ctypes.get_errno() == errno.ENOENT
            if result < 0 and not done:
                return None
            all_keys += memoryview(keys).cast("B")[: key * count.value]
            all_values += memoryview(values).cast("B")[: value * count.value]
            if done:
                return bytes(all_keys), bytes(all_values)
            start = at

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        """Read all entries one by one, as some kernels and kinds of maps require."""
        key: bytes | None = None
        buffer = ctypes.create_string_buffer(self.info.key_size)
        seen: set[bytes] = set()
        while lib().bpf_map_get_next_key(self.fd, key, buffer) >= 0:
            key = buffer.raw
            if key in seen:  # the key before was removed, and the walk began anew
                continue
            seen.add(key)
            value = self.lookup(key)
            if value is not None:
                yield key, value


def _pieces(column: bytes, size: int) -> Iterator[bytes]:
    """Cut a column into pieces of `size` bytes."""
    return (column[at : at + size] for at in range(0, len(column), size))
