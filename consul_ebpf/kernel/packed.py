"""The rows of a table as two long byte strings, decoded one by one when asked for.

With 65,536 VIPs a dict of decoded rows takes 60 MB, and these two strings 12 MB.
"""

from bisect import bisect_left
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from typing import Generic, TypeVar

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
    def of(cls, rows: Iterable[tuple[bytes, bytes]]) -> "Packed":
        """Pack rows. If a key comes twice, its last row counts."""
        found = dict(rows)
        if not found:
            return cls()
        order = sorted(found)
        first = order[0]
        return cls(
            b"".join(order),
            b"".join([found[key] for key in order]),
            len(first),
            len(found[first]),
        )

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
