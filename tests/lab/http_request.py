"""Small HTTP requests to Consul's API and Envoy's admin, without proxies or retries."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from tests.lab.scratch import Netns


class StatusError(OSError):
    """The answer was not 200; the body says why."""


def request(
    method: str,
    url: str,
    body: Any = None,
    *,
    token: str = "",
    netns: Netns | None = None,
    timeout: float = 5.0,
) -> bytes:
    """Send one request and return the body.

    Raises:
        StatusError: another status than 200.
        OSError: no answer within `timeout` seconds, or none at all.
    """

    def send() -> tuple[int, bytes]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=timeout
        )
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        data = None if body is None else json.dumps(body)
        headers = {"X-Consul-Token": token} if token else {}
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {url}: {error!r}") from error
        finally:
            connection.close()

    status, text = netns.call(send) if netns else send()
    if status != 200:
        raise StatusError(f"{method} {url}: {status} {text.decode().strip()}")
    return text
