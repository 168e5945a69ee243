"""sendmmsg() and recvmmsg(), which Python does not have: one message a call."""

import ctypes
import os
import select
import socket
import struct
from typing import Any

_LARGEST = 4096
_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vectors_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("size", ctypes.c_uint32),
    ]


def send(sock: socket.socket, data: bytes, address: tuple[str, int]) -> None:
    """Send one datagram by sendmmsg()."""
    packed = socket.inet_pton(sock.family, address[0])
    head = struct.pack("=H", sock.family) + struct.pack("!H", address[1])
    name = head + (bytes(4) if sock.family == socket.AF_INET6 else b"") + packed
    _call(_libc.sendmmsg, sock, data, name.ljust(28, b"\0"))


def receive(sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
    """Receive one datagram, and where it came from, by recvmmsg()."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not poll.poll((sock.gettimeout() or 0) * 1000):
        raise TimeoutError
    data, name = _call(_libc.recvmmsg, sock, bytes(_LARGEST), bytes(28), None)
    (port,) = struct.unpack("!H", name[2:4])
    packed = name[8:24] if sock.family == socket.AF_INET6 else name[4:8]
    return data, (socket.inet_ntop(sock.family, packed), port)


def _call(
    function: Any, sock: socket.socket, data: bytes, name: bytes, *more: object
) -> tuple[bytes, bytes]:
    buffer = ctypes.create_string_buffer(data, len(data))
    where = ctypes.create_string_buffer(name, len(name))
    vector = _Vector(ctypes.addressof(buffer), len(data))
    size = 16 if sock.family == socket.AF_INET else 28
    message = _Message(
        ctypes.addressof(where), size, ctypes.pointer(vector), 1, None, 0, 0, 0, 0
    )
    if function(sock.fileno(), ctypes.byref(message), 1, 0, *more) != 1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw[: message.size], where.raw
