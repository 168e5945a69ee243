"""Ask a running controller's endpoint, over its unix socket."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from consul_ebpf.model.errors import ConsulEbpfError


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def proxy(
    path: Path, proxy_id: str, wait: str = "", seconds: float = 0.0
) -> tuple[int, dict[str, Any]]:
    """Ask for a proxy, and wait for a condition; return HTTP's status and the JSON.

    Raises:
        OSError: nobody listens at `path`.
        ConsulEbpfError: whoever listens there is no controller.
    """
    query = urlencode({"wait": wait, "timeout": seconds}) if wait else ""
    connection = _Connection(path, seconds + 10)
    try:
        connection.request("GET", f"/v1/proxies/{quote(proxy_id, safe='')}?{query}")
        answer = connection.getresponse()
        return answer.status, dict(json.loads(answer.read()))
    except (http.client.HTTPException, ValueError) as error:
        raise ConsulEbpfError(f"{path}: no answer of a controller: {error}") from error
    finally:
        connection.close()
