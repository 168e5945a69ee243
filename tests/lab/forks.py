"""Counts the processes that a process starts, by the kernel's process events."""

import os
import socket
import struct
import threading
from collections import Counter
from types import TracebackType
from typing import Self

_CONNECTOR = 11  # NETLINK_CONNECTOR
_PROC = 1  # CN_IDX_PROC, and CN_VAL_PROC
_FORK = 1  # PROC_EVENT_FORK
_LISTEN = struct.pack("=IHHII IIIIHH I", 40, 3, 0, 0, 0, _PROC, _PROC, 0, 0, 4, 0, 1)
_EVENT = struct.Struct("=IIQIIII")  # what, cpu, time; pid and tgid of parent and child
_HEADERS = 16 + 20  # struct nlmsghdr, struct cn_msg


class Forks:
    """While it is entered, counts processes (no threads) by who started them."""

    def __init__(self) -> None:
        self.of: Counter[int] = Counter()
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _CONNECTOR)
        self._netlink.bind((os.getpid(), _PROC))
        self._netlink.settimeout(0.1)
        self._netlink.send(_LISTEN)
        self._thread = threading.Thread(target=self._count)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self._netlink.close()

    def _count(self) -> None:
        while not self._done.is_set():
            try:
                data = self._netlink.recv(4096)
            except TimeoutError:
                continue
            what, _, _, _, parent, child, group = _EVENT.unpack_from(data, _HEADERS)
            if what == _FORK and child == group:
                self.of[parent] += 1
