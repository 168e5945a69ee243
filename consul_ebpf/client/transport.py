"""The transport under py-consul's endpoints: guarded HTTP requests by aiohttp.

An answer from the network may hang, never end, redirect, or lack a header. None of that
may block, fill up or mislead the controller, or give a token away.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import aiohttp
from yarl import URL

from consul_ebpf.base.tls import TlsFiles
from consul_ebpf.client.answers import (
    FILTERED,
    INDEX,
    KNOWN_LEADER,
    MAX_BODY,
    as_consul_error,
    check_size,
    check_status,
    decoding,
    index_in,
    repaired,
)
from consul_ebpf.client.py_consul import base
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.http_address import HttpAddress

T = TypeVar("T")

PLAIN_SECONDS = 10.0
"""Seconds for a request that is not a blocking query."""

CONNECT_SECONDS = 5.0
"""Seconds for the TCP connect: the deadline of a blocking query is too long for it."""

IP_MISMATCH = 64
"""OpenSSL's X509_V_ERR_IP_ADDRESS_MISMATCH."""


def deadline(wait: float | None) -> float:
    """Return the seconds for a request that may block for `wait` seconds.

    Consul adds up to a sixteenth of it.
    """
    return PLAIN_SECONDS + (wait * 1.1 + wait / 16 if wait else 0.0)


class Https(NamedTuple):
    """How to verify an https address."""

    files: TlsFiles
    server_name: str | None = None
    """The name to expect in the certificate; None: the address's host."""
    or_else: str | None = None
    """Another name to accept if the host is an IP address: certificates seldom have the
    servers' addresses, but always one name that all servers share."""
    or_else_by: str = "consul.tls.server_name"
    """The configuration keys that decide `or_else`, for errors."""


class Transport(base.HTTPClient):  # type: ignore[misc]  # py-consul is untyped
    """Carries out the requests of py-consul's endpoints, in one aiohttp session."""

    def __init__(
        self,
        host: str,
        port: int,
        scheme: str,
        *,
        address: HttpAddress,
        https: Https | None,
    ) -> None:
        super().__init__(host, port, scheme)
        at = host if address.socket else f"{host}:{port}"
        self.base_uri = f"{scheme}://{at}{address.prefix}"
        self._shown = str(address)
        self._https = https if scheme == "https" else None
        self._server_name = self._https.server_name if self._https else None
        self.known_leader = True
        socket = address.socket
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket) if socket else None,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            requote_redirect_url=False,
        )

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def get(self, callback: Callable[[Any], T], path: str, **request: Any) -> T:
        """GET `path`; return what `callback` makes of the answer."""
        return await self._request("GET", callback, path, **request)

    async def put(self, callback: Callable[[Any], T], path: str, **request: Any) -> T:
        """PUT to `path`, as `get`."""
        return await self._request("PUT", callback, path, **request)

    async def post(self, callback: Callable[[Any], T], path: str, **request: Any) -> T:
        """POST to `path`, as `get`."""
        return await self._request("POST", callback, path, **request)

    async def delete(
        self, callback: Callable[[Any], T], path: str, **request: Any
    ) -> T:
        """DELETE `path`, as `get`."""
        return await self._request("DELETE", callback, path, **request)

    async def _request(
        self,
        method: str,
        callback: Callable[[Any], T],
        path: str,
        *,
        params: Sequence[tuple[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        data: str | bytes | None = None,
        seconds: float | None = None,
    ) -> T:
        headers = headers or {}
        url = URL(self.uri(path, params), encoded=True)
        total = deadline(_wait_of(params)) if seconds is None else seconds
        with as_consul_error(self._shown, total, self._named_by):
            try:
                return await self._ask(method, callback, url, headers, data, total)
            except aiohttp.ClientConnectorCertificateError as error:
                if not self._takes_another_name(error):
                    raise
                return await self._ask(method, callback, url, headers, data, total)

    def _takes_another_name(
        self, error: aiohttp.ClientConnectorCertificateError
    ) -> bool:
        """Whether to try again with `or_else`: the certificate lacks the IP address."""
        https = self._https
        if https is None or https.or_else is None or self._server_name is not None:
            return False
        code = getattr(error.certificate_error, "verify_code", None)
        if code != IP_MISMATCH:
            return False
        self._server_name = https.or_else
        return True

    def _named_by(self) -> str:
        """Return the configuration keys that decide the name to expect."""
        own, https = "consul.tls.http_server_name", self._https
        if https is None or https.server_name is not None or self._server_name is None:
            return own
        return f"{https.or_else_by}, or set {own}"

    async def _ask(  # noqa: PLR0917  # one request, taken apart
        self,
        method: str,
        callback: Callable[[Any], T],
        url: URL,
        headers: Mapping[str, str],
        data: str | bytes | None,
        total: float,
    ) -> T:
        async with self._session.request(
            method,
            url,
            headers=headers,
            data=data,
            allow_redirects=False,  # the token would be sent to the other host, too
            ssl=self._https.files.context() if self._https else True,
            server_hostname=self._server_name,
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_SECONDS),
        ) as response:
            body = await self._body(response)
            secret = headers.get("X-Consul-Token")
            check_status(self._shown, response.status, response.headers, body, secret)
            check_size(self._shown, body)
            body = repaired(body)
            self.known_leader = response.headers.get(KNOWN_LEADER) != "false"
            given = {
                INDEX: index_in(response.headers),
                FILTERED: response.headers.get(FILTERED, "false"),
            }
        with decoding(self._shown):
            return callback(base.Response(200, given, body))

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(64 * 1024):
            body += chunk
            if len(body) > MAX_BODY:
                raise ConsulError(
                    f"Consul at {self._shown}: the answer is larger than"
                    f" {MAX_BODY >> 20} MiB"
                )
        return bytes(body)


def _wait_of(params: Sequence[tuple[str, Any]] | None) -> float | None:
    """Return a blocking query's `wait` in seconds; py-consul writes it as `60s`."""
    wait = dict(params or ()).get("wait")
    return None if wait is None else float(str(wait).removesuffix("s"))
