"""Asks a running controller's endpoint, over its unix socket."""

import contextlib
import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.lines import one_line
from consul_ebpf.config.schema import Config
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.wiring.files import api_socket, bootstrap_left_for

LARGEST_BYTES = 1 << 20
"""Most bytes of an answer about one proxy; a usual one has some hundred."""

LARGEST_STATUS_BYTES = 64 << 20
"""Most bytes of a status; a proxy takes some hundred of it."""

STATUS_SECONDS = 10.0


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
    """Ask for a proxy; return HTTP's status and the JSON.

    Args:
        path: the endpoint's socket.
        proxy_id: the proxy's ID.
        wait: the condition that the controller is to wait for; empty: do not wait.
        seconds: how long to wait.

    Raises:
        OSError: nobody listens at `path`, or the connection ended early.
        ConsulEbpfError: the answer is not a controller's.
    """
    query = urlencode({"wait": wait, "timeout": seconds}) if wait else ""
    route = f"/v1/proxies/{quote(proxy_id, safe='')}?{query}"
    return _get(path, route, seconds + 10, LARGEST_BYTES)


def status(path: Path) -> dict[str, Any]:
    """Ask for what `status --json` prints; see `proxy` for what it raises."""
    code, answer = _get(path, "/v1/status", STATUS_SECONDS, LARGEST_STATUS_BYTES)
    if code != 200:
        raise ConsulEbpfError(one_line(answer.get("error") or f"HTTP {code}"))
    return answer


def _get(
    path: Path, route: str, seconds: float, largest: int
) -> tuple[int, dict[str, Any]]:
    connection = _Connection(path, seconds)
    try:
        connection.request("GET", route)
        answer = connection.getresponse()
        body = answer.read(largest + 1)
        if len(body) <= largest and answer.length:
            raise ConnectionResetError("it ended before the end of its answer")  # noqa: TRY301
        return answer.status, _object(body, largest)
    except OSError:  # http.client's error for an early end is one, too
        raise
    except Exception as error:
        raise ConsulEbpfError(
            f"{one_line(path)}: the answer is not a controller's: {reason(error)}"
        ) from error
    finally:
        connection.close()


def find_bootstrap(config: Config, proxy_id: str) -> Path:
    """Return where a proxy's bootstrap is, or will be.

    The controller's files say so. If they do not, or this user may not read them, the
    controller is asked.
    """
    path = bootstrap_left_for(config, proxy_id)
    if not os.path.lexists(path):
        with contextlib.suppress(OSError, ConsulEbpfError):
            _, answer = proxy(api_socket(config), proxy_id)
            return Path(str(answer.get("bootstrap") or path))
    return path


def _object(body: bytes, largest: int) -> dict[str, Any]:
    if len(body) > largest:
        raise ValueError(f"more than {largest} bytes")
    data = json.loads(body)
    if not isinstance(data, dict):
        raise TypeError("no JSON object")
    return data
