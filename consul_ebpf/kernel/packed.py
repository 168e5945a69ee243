"""The rows of a table as two long byte strings, decoded one by one when asked for.

With 65,536 VIPs a dict of decoded rows takes 60 MB, and these two strings 6 MB.
"""

import operator
from bisect import bisect_left
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from itertools import zip_longest
from typing import Generic, Self, TypeVar

from consul_ebpf.kernel import codec
from consul_ebpf.model.values import Vip

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows in the order of their keys; all keys have one size, and all values."""

    keys: bytes = b""
    values: bytes = b""
    key_size: int = 1
    value_size: int = 1

    @classmethod
    def of(cls, columns: tuple[bytes, bytes], key_size: int, value_size: int) -> Self:
        """Sort rows, given as `Map.columns` reads them.

        If a key comes twice, its last row counts: a table may be read while it is
        written.
        """
        keys, values = columns

        def key(at: int) -> bytes:
            return keys[at * key_size : (at + 1) * key_size]

        order = sorted(range(len(keys) // key_size), key=key)
        last = [
            at
            for at, then in zip_longest(order, order[1:])
            if then is None or key(at) != key(then)
        ]
        sorted_keys, sorted_values = bytearray(), bytearray()
        for at in last:
            sorted_keys += key(at)
            sorted_values += values[at * value_size : (at + 1) * value_size]
        return cls(bytes(sorted_keys), bytes(sorted_values), key_size, value_size)

    def __len__(self) -> int:
        return len(self.keys) // self.key_size

    def key(self, at: int) -> bytes:
        """Return the key at a position."""
        return self.keys[at * self.key_size : (at + 1) * self.key_size]

    def value(self, at: int) -> bytes:
        """Return the value at a position."""
        return self.values[at * self.value_size : (at + 1) * self.value_size]

    def find(self, key: bytes) -> int | None:
        """Return the position of a key; None: it is not there."""
        at = bisect_left(range(len(self)), key, key=self.key)
        return at if at < len(self) and self.key(at) == key else None


class VipRows(Mapping[Vip, T], Generic[T]):
    """By VIP, what its row says. Nothing decoded is kept."""

    __slots__ = ("_decode", "_rows")

    def __init__(self, rows: Packed, decode: Callable[[bytes], T]) -> None:
        self._rows = rows
        self._decode = decode

    def __repr__(self) -> str:
        return f"<VipRows of {len(self)} VIPs>"

    def __eq__(self, other: object) -> bool:
        """Compare row by row: a mapping would make two dicts first."""
        if not isinstance(other, VipRows):
            return super().__eq__(other)
        if self._decode is other._decode and self._rows == other._rows:
            return True
        return self._rows.keys == other._rows.keys and all(
            map(operator.eq, self.decoded(), other.decoded())
        )

    __hash__ = None  # type: ignore[assignment]  # as every mapping

    def __getitem__(self, vip: Vip) -> T:
        at = self._rows.find(codec.encode_key(vip))
        if at is None:
            raise KeyError(vip)
        return self._at(at)

    def __iter__(self) -> Iterator[Vip]:
        for at in range(len(self._rows)):
            yield codec.decode_key(self._rows.key(at))

    def __len__(self) -> int:
        return len(self._rows)

    def items(self) -> ItemsView[Vip, T]:
        """Return the VIPs with what their rows say."""
        return _Items(self)

    def values(self) -> ValuesView[T]:
        """Return what the rows say."""
        return _Values(self)

    def decoded(self) -> Iterator[T]:
        """Decode all rows, in the order of the VIPs."""
        return map(self._at, range(len(self._rows)))

    def _at(self, at: int) -> T:
        return self._decode(codec.fit(self._rows.value(at), codec.VIP.size))


class _Items(ItemsView[Vip, T]):
    """Iterates without looking up each key."""

    _mapping: VipRows[T]

    def __iter__(self) -> Iterator[tuple[Vip, T]]:
        return zip(self._mapping, self._mapping.decoded(), strict=True)


class _Values(ValuesView[T]):
    """Iterates without looking up each key."""

    _mapping: VipRows[T]

    def __iter__(self) -> Iterator[T]:
        return self._mapping.decoded()
