"""Consul's ACL system as far as tokens of logins need it."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from consul_ebpf.client import acl_grpc as grpc_acl
from consul_ebpf.client.calls import CallError, ServerCalls
from consul_ebpf.client.http import ConsulHttp, Https
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.http_address import HttpAddress
from consul_ebpf.model.values import Login

ASK_AGAIN = 3
"""Times that every agent is asked for a token's lifetime: one may lag behind."""

MAX_BEARER = 64 * 1024
"""Bytes of a bearer token's file. A JWT has one or two thousand."""


class ConsulAcl:
    """Consul itself: over gRPC where a server is known, else over HTTP.

    Args:
        calls: to the servers.
        http_addresses: for the time before a server is known, and to ask when a token
            expires, which gRPC does not say.
        https: how to verify https addresses; None: by the system's certificates.
        datacenter: empty for that of the agent that answers.
    """

    def __init__(
        self,
        calls: ServerCalls,
        http_addresses: Sequence[str],
        *,
        https: Https | None = None,
        datacenter: str = "",
    ) -> None:
        self._calls = calls
        self._addresses = tuple(map(HttpAddress.parse, http_addresses))
        self._https = https
        self._datacenter = datacenter

    def __repr__(self) -> str:
        return f"<ConsulAcl {', '.join(map(str, self._addresses))}>"

    async def login(self, how: Login) -> str:
        """Log in; see `Acl.login`."""
        bearer = how.bearer_token or await asyncio.to_thread(
            read_bearer, how.bearer_token_file
        )
        if self._calls.servers:
            return await grpc_acl.login(self._calls, how, bearer)
        body = {"AuthMethod": how.auth_method, "BearerToken": bearer}
        if how.meta:
            body["Meta"] = dict(how.meta)  # type: ignore[assignment]
        return await self._over_http(how, body, bearer)

    async def lifetime(self, secret: str, how: Login) -> float | None:
        """Ask over HTTP, the only way; see `Acl.lifetime`."""
        for _ in range(ASK_AGAIN):
            for address in self._addresses:
                with contextlib.suppress(ConsulError, KeyError, ValueError):
                    async with self._http(address, how.datacenter) as consul:
                        answer = await consul.acl.token.read_self(secret)
                        made, ends = answer["CreateTime"], answer.get("ExpirationTime")
                        return unix_time(ends) - unix_time(made) if ends else None
            await asyncio.sleep(0.3)
        return None

    async def logout(self, secret: str, how: Login) -> None:
        """Log out; see `Acl.logout`."""
        try:
            if self._calls.servers:
                await grpc_acl.logout(self._calls, secret, how.datacenter)
            else:
                await self._over_http(how, None, secret)
        except CallError:
            return  # it has expired, or was deleted: that is what was wanted
        except ConsulError as error:
            if "HTTP 403" not in str(error):
                raise

    async def refused(self, secret: str) -> bool:
        """Ask every server; see `Acl.refused`."""
        answers = await self._ask_all(secret)
        return bool(answers) and not any(answers)

    async def accepted(self, secret: str) -> bool:
        """Ask every server; see `Acl.accepted`."""
        return all(await self._ask_all(secret))

    async def _ask_all(self, secret: str) -> list[bool]:
        answers = await asyncio.gather(
            *(self._calls.accepts(server, secret) for server in self._calls.servers),
            return_exceptions=True,
        )
        return [each for each in answers if isinstance(each, bool)]

    async def _over_http(
        self, how: Login, body: dict[str, str] | None, secret: str
    ) -> str:
        """Log in by `body`, or without one log `secret` out, at the first address."""
        error = ConsulError("no HTTP address of Consul: set consul.http_addresses")
        for address in self._addresses:
            try:
                async with self._http(address, how.datacenter) as consul:
                    if body is None:
                        await consul.acl.logout(secret)
                        return ""
                    answer = await consul.log_in(
                        body, namespace=how.namespace, partition=how.partition
                    )
                    return str(answer["SecretID"])
            except ConsulError as caught:
                error = ConsulError(str(caught).replace(secret, "<token>"))
        raise error

    def _http(self, address: HttpAddress, datacenter: str) -> ConsulHttp:
        return ConsulHttp(
            address,
            datacenter=datacenter or self._datacenter,
            https=self._https,
        )


def read_bearer(path: str) -> str:
    """Read a bearer token's file.

    Raises:
        ConsulError: it cannot be read, or is empty.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BEARER + 1)
        text = data.decode("ascii").strip()
    except OSError as error:
        raise ConsulError(f"bearer token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not text or len(text.split()) > 1 or len(data) > MAX_BEARER:
        raise ConsulError(f"bearer token file {path}: holds no bearer token")
    return text


def unix_time(text: str) -> float:
    """Read Consul's times: RFC 3339 with up to nine digits, and any zone."""
    whole, point, rest = text.partition(".")
    if point:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = f"{whole}.{rest[:digits][:6]}{rest[digits:]}"
    return dt.datetime.fromisoformat(text).timestamp()
