"""Listens to the packets of one port in a network namespace, while others are measured.

The kernel copies them with the time at which it sent them; nobody waits for that.
"""

import socket
import struct
from contextlib import ExitStack
from ctypes import addressof, create_string_buffer
from threading import Thread

from tests.bench.failover.flows import Flows
from tests.lab.held import Held
from tests.lab.scratch import Netns

_ETH_P_IP = 0x0800
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_BUFFER = 64 * 1024 * 1024
_LARGEST = 80 * 1024


def _filter(port: int) -> bytes:
    """Return a classic BPF program: IPv4, TCP, from or to a port."""
    code = [
        (0x30, 0, 0, 9),  # the protocol
        (0x15, 0, 6, socket.IPPROTO_TCP),
        (0xB1, 0, 0, 0),  # the header's length
        (0x48, 0, 0, 0),  # the port it is from
        (0x15, 2, 0, port),
        (0x48, 0, 0, 2),  # the port it is to
        (0x15, 0, 1, port),
        (0x06, 0, 0, _LARGEST),
        (0x06, 0, 0, 0),
    ]
    return b"".join(struct.pack("HBBI", *each) for each in code)


class Wire(Held):
    """Fills `flows` from the packets from and to a port on `lo` in a namespace."""

    def __init__(self, netns: Netns, port: int, alias: str = "") -> None:
        self._netns = netns
        self._port = port
        self.flows = Flows(port, alias)

    def __repr__(self) -> str:
        return f"<Wire {self.flows!r}>"

    def hold(self, stack: ExitStack) -> None:
        """Begin to listen."""
        self._socket = stack.enter_context(self._netns.call(self._open))
        thread = Thread(target=self._listen, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._stop)

    def _open(self) -> socket.socket:
        code = _filter(self._port)
        room = create_string_buffer(code)
        program = struct.pack("HL", len(code) // 8, addressof(room))
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        heard.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        heard.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        heard.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        heard.settimeout(0.2)
        heard.bind(
            ("lo", _ETH_P_IP)
        )  # those that come in, which on `lo` is all of them
        return heard

    def _stop(self) -> None:
        self._going = False

    _going = True

    def _listen(self) -> None:
        while self._going:
            try:
                packet, extra, *_ = self._socket.recvmsg(_LARGEST, 64)
            except TimeoutError:
                continue
            seconds, nanoseconds = struct.unpack("qq", extra[0][2])
            self.flows.take(seconds + nanoseconds / 1e9, packet)
