"""The one HTTP client for Consul: py-consul's endpoints over our own transport."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consul_ebpf.client.answers import FILTERED, INDEX
from consul_ebpf.client.headers import as_header
from consul_ebpf.client.py_consul import aio
from consul_ebpf.client.token import TokenSource, no_token
from consul_ebpf.client.transport import Https, Transport
from consul_ebpf.model.http_address import HttpAddress


@dataclass(frozen=True, slots=True)
class Answer:
    """A list from Consul, not decoded yet."""

    index: str
    """The index for the next blocking query."""
    body: bytes
    filtered: bool
    """Whether ACLs hid a part of it."""


class ConsulHttp(aio.Consul):  # type: ignore[misc]  # py-consul is untyped
    """Asks one agent or server. Reads are stale reads, which any server may answer.

    Use it as `async with`. Each failure is a `ConsulError` that names the address.

    Args:
        address: of the agent or server.
        datacenter: the one to ask about; empty: that of the agent.
        token: returns the ACL token for a request, or None.
        https: how to verify an https address; None: by the system's roots.
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
            verify=True,  # otherwise $CONSUL_HTTP_SSL_VERIFY would decide
        )
        # py-consul prefers $CONSUL_HTTP_TOKEN to the token it is given, so we give it
        # none and add ours to each request.
        self.token = None

    def __repr__(self) -> str:
        return f"<ConsulHttp {self._address}>"

    def http_connect(self, host: str, port: int, scheme: str, *_: Any) -> Transport:
        """Return the transport; py-consul calls this."""
        return Transport(
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
        """Whether the server of the newest answer knows the cluster's leader."""
        known: bool = self.http.known_leader
        return known

    async def read(
        self,
        path: str,
        *,
        index: int | None,
        wait: str,
        params: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """Ask for a list, and return it undecoded.

        So the caller can skip one strange entry and use the others.

        Args:
            path: of the endpoint, like `/v1/catalog/service/consul`.
            index: the index of the last answer, for a blocking query; None: the answer
                comes at once.
            wait: how long the query may block, like `60s`.
            params: more parameters.
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
        self,
        body: Mapping[str, Any],
        *,
        namespace: str,
        partition: str,
        seconds: float,
    ) -> dict[str, Any]:
        """Log in at an auth method, within so long; return the token as decoded JSON.

        py-consul's own call knows no namespaces.
        """
        where = {"dc": self.dc, "ns": namespace, "partition": partition}
        answer: dict[str, Any] = await self.http.post(
            lambda response: json.loads(response.body),
            "/v1/acl/login",
            params=[(key, value) for key, value in where.items() if value],
            data=json.dumps(body),
            seconds=seconds,
        )
        return answer
