"""A controller's local endpoint, asked over its unix socket."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._at = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._at))


def ask(at: Path, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Ask the endpoint at a socket; return the status and JSON or text, if any."""
    connection = _Unix(at)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
        kind = answer.headers.get_content_type()
    finally:
        connection.close()
    if kind == "application/json":
        return answer.status, json.loads(text)
    return answer.status, text.decode() or None
