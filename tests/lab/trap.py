"""A listener that nobody configured: whatever is sent to it is kept."""

import socket
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self


class Trap:
    """Listens on several ports of 127.0.0.1 and keeps what arrives.

    It answers each connection with an HTTP error, so that whoever tries HTTP goes on.
    """

    def __init__(self, ports: Iterable[int]) -> None:
        self._listeners = [self._listen(port) for port in ports]
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._accept, args=(each,), daemon=True)
            for each in self._listeners
        ]
        self.heard: list[tuple[int, bytes]] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for each in self._listeners:
            each.close()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        listener.settimeout(0.2)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        port = listener.getsockname()[1]
        while not self._over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(0.5)
                try:
                    said = connection.recv(65536)
                    connection.sendall(
                        b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n"
                        b"Connection: close\r\n\r\n"
                    )
                except OSError:
                    said = b""
                self.heard.append((port, said))
