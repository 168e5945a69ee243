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


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
@pytest.mark.parametrize("size", [codec.VIP.size, codec.VIP.size + 8])
def test_they_are_a_mapping_as_a_dict_is(count: int, size: int) -> None:
    """Also those of a newer layout, whose rows are longer."""
    found = rows(count, size)
    asked = {
        codec.decode_key(key): codec.decode_preference(codec.fit(row, codec.VIP.size))
        for key, row in found.items()
    }
    packed = VipRows(Packed.of(found.items()), codec.decode_preference)
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
    one, other = Packed.of(found.items()), Packed.of(reversed(found.items()))
    assert one == other
    changed = {**found, next(iter(found)): codec.encode_vip((9,))}
    assert Packed.of(changed.items()) != one


def test_a_key_that_was_read_twice_is_there_once() -> None:
    """A table may be read while it is written."""
    key = codec.encode_key(Vip(IPv4Address("127.64.0.1"), 8502))
    packed = Packed.of([(key, codec.encode_vip((1,))), (key, codec.encode_vip((2,)))])
    assert list(VipRows(packed, codec.decode_preference).values()) == [(2,)]
