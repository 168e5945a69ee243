"""Loopback addresses that one lab at a time has."""

import socket
from typing import Self

from tests.lab.processes import LabError

BLOCKS = range(100, 200)
"""Third bytes of 127.0.x.0/24 that labs take; one lab at a time has a block.

Other tests have their fixed addresses below."""


class AddressBlock:
    """One 127.0.x.0/24 of our own, held by a listening socket on its last address."""

    def __init__(self, port: int) -> None:
        """Prepare; `port` is one that whoever takes a block listens on."""
        self._port = port

    def __enter__(self) -> Self:
        for block in BLOCKS:
            self._socket = socket.socket()
            try:
                self._socket.bind((f"127.0.{block}.254", self._port))
                self._socket.listen()
            except OSError:
                self._socket.close()
            else:
                self._block = block
                return self
        raise LabError(f"no free block of addresses in 127.0.{BLOCKS}")

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def addresses(self, size: int) -> tuple[str, ...]:
        """Return the first addresses."""
        return tuple(f"127.0.{self._block}.{i + 1}" for i in range(size))
