"""The one HTTP client for Consul: py-consul's endpoints over a guarded transport.

py-consul knows the endpoints and their parameters. The transport is ours: an answer
from the network may hang, never end, redirect, or lack a header, and none of that may
block, fill or mislead the controller, or give a token away.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from consul_ebpf.client.headers import as_header
from consul_ebpf.client.py_consul import aio, base
from consul_ebpf.client.token import TokenSource, no_token
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.http_address import HttpAddress

T = TypeVar("T")

PLAIN_DEADLINE = 10.0
"""Seconds for a whole request that does not block."""

CONNECT_DEADLINE = 5.0
"""Seconds for the TCP connect: a blocking query's deadline is too long for that."""

IP_MISMATCH = 64
"""OpenSSL's X509_V_ERR_IP_ADDRESS_MISMATCH."""


def deadline(wait: float | None) -> float:
    """Return the seconds for a request: Consul adds up to a sixteenth to `wait`."""
    return PLAIN_DEADLINE + (wait * 1.1 + wait / 16 if wait else 0.0)


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


@dataclass(frozen=True, slots=True)
class Answer:
    """A list from Consul, not decoded yet."""

    index: str
    body: bytes
    filtered: bool
    """Whether ACLs hid some of it."""


class ConsulHttp(aio.Consul):  # type: ignore[misc]  # py-consul is untyped
    """One agent or server. Reads are stale reads, which any server may answer.

    Use it as `async with`. Every failure is a `ConsulError` that names the address.
    """

    def __init__(
        self,
        address: HttpAddress,
        *,
        datacenter: str = "",
        token: TokenSource = no_token,
        https: Https | None = None,
    ) -> None:
        self._https = https
        host = f"[{address.host}]" if ":" in address.host else address.host
        if address.socket:
            host = "localhost"
        self._address = address
        self._token_source = token
        super().__init__(
            host=host,
            port=address.port,
            scheme=address.scheme,
            consistency="stale",
            dc=datacenter or None,
            verify=True,  # or $CONSUL_HTTP_SSL_VERIFY would decide
        )
        # py-consul prefers $CONSUL_HTTP_TOKEN to the token it is given, so we give it
        # none and add ours to each request.
        self.token = None

    def __repr__(self) -> str:
        return f"<ConsulHttp {self._address}>"

    def http_connect(self, host: str, port: int, scheme: str, *_: Any) -> "_Transport":
        """Return the transport; py-consul calls this."""
        return _Transport(
            host,
            port,
            scheme,
            https=self._https,
            address=self._address,
        )

    def prepare_headers(self, token: str | None = None) -> dict[str, str]:
        """Return a request's headers; py-consul calls this."""
        secret = token or self._token_source()
        return {"X-Consul-Token": as_header(secret)} if secret else {}

    @property
    def known_leader(self) -> bool:
        """Whether the server that answered last knows the cluster's leader."""
        known: bool = self.http.known_leader
        return known

    async def read(
        self,
        path: str,
        *,
        index: int | None,
        wait: str,
        params: Sequence[tuple[str, str]] = (),
    ) -> "Answer":
        """Ask for a list by a blocking query, and return it undecoded.

        The caller's decoder can then skip one strange entry and use the others.
        """
        query = [(self.consistency, "1"), *params]
        if self.dc:
            query.append(("dc", self.dc))
        if index:
            query += [("index", str(index)), ("wait", wait)]

        def take(response: Any) -> Answer:
            filtered = response.headers[FILTERED] == "true"
            return Answer(response.headers[INDEX], response.body, filtered)

        headers = self.prepare_headers()
        answer: Answer = await self.http.get(take, path, params=query, headers=headers)
        return answer

    async def log_in(
        self, body: Mapping[str, Any], *, namespace: str, partition: str
    ) -> dict[str, Any]:
        """Log in at an auth method; py-consul's own call knows no namespace."""
        where = {"dc": self.dc, "ns": namespace, "partition": partition}
        answer: dict[str, Any] = await self.http.post(
            lambda response: json.loads(response.body),
            "/v1/acl/login",
            params=[(key, value) for key, value in where.items() if value],
            data=json.dumps(body),
        )
        return answer


class _Transport(base.HTTPClient):  # type: ignore[misc]
    """What py-consul calls, over one aiohttp session."""

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
        await self._session.close()

    async def get(self, callback: Callable[[Any], T], path: str, **request: Any) -> T:
        return await self._request("GET", callback, path, **request)

    async def put(self, callback: Callable[[Any], T], path: str, **request: Any) -> T:
        return await self._request("PUT", callback, path, **request)

    async def post(self, callback: Callable[[Any], T], path: str, **request: Any) -> T:
        return await self._request("POST", callback, path, **request)

    async def delete(
        self, callback: Callable[[Any], T], path: str, **request: Any
    ) -> T:
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
    ) -> T:
        headers = headers or {}
        url = URL(self.uri(path, params), encoded=True)
        total = deadline(_wait_of(params))
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
            allow_redirects=False,  # the token would be sent there, too
            ssl=self._https.files.context() if self._https else True,
            server_hostname=self._server_name,
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_DEADLINE),
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
