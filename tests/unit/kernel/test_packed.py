"""Packed rows are found and read as those of a dict would be."""

import random
from ipaddress import IPv4Address

import pytest

from consul_ebpf.kernel import codec
from consul_ebpf.kernel.packed import Packed, VipRows
from consul_ebpf.model.values import Vip


def rows(count: int, size: int = codec.VIP.size) -> dict[bytes, bytes]:
    vips = [Vip(IPv4Address("127.64.0.0") + n, 8502) for n in range(count)]
    random.Random(count).shuffle(vips)
    return {
        codec.encode_key(vip): codec.fit(codec.encode_vip((n % 3, 5)), size)
        for n, vip in enumerate(vips)
    }


def packed_of(found: dict[bytes, bytes]) -> Packed:
    size = len(next(iter(found.values()), b" "))
    columns = b"".join(found), b"".join(found.values())
    return Packed.of(columns, codec.VIP_KEY.size, size)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
@pytest.mark.parametrize("size", [codec.VIP.size, codec.VIP.size + 8])
def test_they_are_a_mapping_as_a_dict_is(count: int, size: int) -> None:
    """Also those of a newer layout, whose rows are longer."""
    found = rows(count, size)
    asked = {
        codec.decode_key(key): codec.decode_preference(codec.fit(row, codec.VIP.size))
        for key, row in found.items()
    }
    packed = VipRows(packed_of(found), codec.decode_preference)
    assert packed == asked
    assert len(packed) == count
    assert list(packed) == sorted(asked)
    assert list(packed.items()) == sorted(asked.items())
    assert list(packed.values()) == [asked[vip] for vip in packed]
    for vip, preference in asked.items():
        assert packed[vip] == preference
        assert Vip(vip.address, vip.port, ipv6=True) in packed
    for nobody in (Vip(IPv4Address("127.63.0.1"), 8502), Vip(IPv4Address(1), 1)):
        assert nobody not in packed
        assert packed.get(nobody) is None


def test_the_same_rows_are_equal_in_whichever_order_they_were_read() -> None:
    """A hash table's order is its own."""
    found = rows(100)
    one, other = packed_of(found), packed_of(dict(reversed(found.items())))
    assert one == other
    changed = {**found, next(iter(found)): codec.encode_vip((9,))}
    assert packed_of(changed) != one


def test_a_key_that_was_read_twice_is_there_once() -> None:
    """A table may be read while it is written."""
    key = codec.encode_key(Vip(IPv4Address("127.64.0.1"), 8502))
    values = codec.encode_vip((1,)) + codec.encode_vip((2,))
    packed = Packed.of((key + key, values), codec.VIP_KEY.size, codec.VIP.size)
    assert list(VipRows(packed, codec.decode_preference).values()) == [(2,)]


def test_rows_that_say_the_same_are_equal() -> None:
    """Another cursor is no other preference."""
    found = rows(5)
    key, row = next(iter(found.items()))
    used = {**found, key: codec.encode_vip((0, 5), codec.staying(row))}
    one, other = (VipRows(packed_of(f), codec.decode_preference) for f in (found, used))
    assert one == other
    assert one != VipRows(packed_of(rows(4)), codec.decode_preference)
    assert one == dict(other)
    moved = {**found, key: codec.encode_vip((7,))}
    assert one != VipRows(packed_of(moved), codec.decode_preference)
