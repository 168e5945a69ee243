"""The types (BTF) without which the kernel does not make some kinds of maps.

The kernel only compares sizes, so a value is described as an array of words, whatever
struct it is.
"""

import struct

INT, ARRAY = 1, 2
"""Ids of the two types: a key of four bytes, and a value."""

_MAGIC, _VERSION = 0xEB9F, 1
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")  # name, kind, and the size of an integer
_WORD_BYTES, _WORD_BITS = 4, 32
_KIND_INT, _KIND_ARRAY = 1 << 24, 3 << 24
_NAMES = b"\0word\0"


def types_of(size: int) -> bytes:
    """Return the BTF of a map whose values have `size` bytes, a multiple of four."""
    integer = _TYPE.pack(1, _KIND_INT, _WORD_BYTES) + struct.pack("=I", _WORD_BITS)
    array = _TYPE.pack(0, _KIND_ARRAY, 0)
    array += struct.pack("=III", INT, INT, size // _WORD_BYTES)
    types = integer + array
    header = _HEADER.pack(
        _MAGIC, _VERSION, 0, _HEADER.size, 0, len(types), len(types), len(_NAMES)
    )
    return header + types + _NAMES
