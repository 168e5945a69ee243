"""connect() by io_uring, in raw system calls: one ring, one request, one answer.

The wrapper on PyPI calls its own connect untested.
"""

import ctypes
import mmap
import os
import socket
import struct

_SETUP, _ENTER = 425, 426  # the same on every architecture
_OP_CONNECT = 16
_ENTER_GETEVENTS = 1
_FEAT_SINGLE_MMAP = 1
_OFFSET_SQES = 0x10000000
_SQE_SIZE, _CQE_SIZE = 64, 16

# struct io_uring_params: sizes and features, then where things lie in the ring.
_PARAMS = struct.Struct("=10I 8IQ 8IQ")

_libc = ctypes.CDLL(None, use_errno=True)


def why_missing() -> str:
    """Say why io_uring cannot be used here; empty: it can."""
    try:
        os.close(_setup()[0])
    except OSError as error:
        return f"io_uring: {error.strerror}"
    return ""


def connect(sock: socket.socket, sockaddr: bytes) -> None:
    """Connect `sock` to a `struct sockaddr` and wait for it.

    Raises:
        OSError: with the errno the kernel answered.
    """
    ring, params = _setup()
    try:
        _run(ring, params, _request(sock, address := ctypes.c_buffer(sockaddr)))
        del address  # the kernel read it until here
    finally:
        os.close(ring)


def _setup() -> tuple[int, tuple[int, ...]]:
    params = ctypes.create_string_buffer(_PARAMS.size)
    ring = _call(_SETUP, 1, params)
    return ring, _PARAMS.unpack(params.raw)


def _request(sock: socket.socket, address: "ctypes.Array[ctypes.c_char]") -> bytes:
    # opcode, flags, ioprio, fd, length of the address, the address
    size = len(address) - 1  # c_buffer adds a NUL
    where = ctypes.addressof(address)
    sqe = struct.pack("=BBHiQQ", _OP_CONNECT, 0, 0, sock.fileno(), size, where)
    return sqe.ljust(_SQE_SIZE, b"\0")


def _run(ring: int, params: tuple[int, ...], sqe: bytes) -> None:
    sq_entries, cq_entries, features = params[0], params[1], params[5]
    sq_tail, sq_array = params[11], params[16]
    cqes = params[24]
    if not features & _FEAT_SINGLE_MMAP:
        raise OSError("io_uring of this kernel is too old for this test")
    size = max(sq_array + 4 * sq_entries, cqes + _CQE_SIZE * cq_entries)
    with (
        mmap.mmap(ring, size) as rings,
        mmap.mmap(ring, _SQE_SIZE * sq_entries, offset=_OFFSET_SQES) as sqes,
    ):
        sqes[: len(sqe)] = sqe
        struct.pack_into("=I", rings, sq_array, 0)
        struct.pack_into("=I", rings, sq_tail, 1)
        _call(_ENTER, ring, 1, 1, _ENTER_GETEVENTS, None, 0)
        _, result, _ = struct.unpack_from("=QiI", rings, cqes)
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def _call(number: int, *args: object) -> int:
    result = int(_libc.syscall(number, *args))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
