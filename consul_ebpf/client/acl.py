"""Consul's ACL system: log in, log out, and ask about a token."""

import asyncio
import contextlib
import datetime as dt
import random
from collections.abc import Sequence

import msgspec

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reading import PLAIN, FileError, Reader
from consul_ebpf.client import acl_grpc as grpc_acl
from consul_ebpf.client.calls import CallError, ServerCalls
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.client.token import MAX_TOKEN_BYTES, is_token, token_in
from consul_ebpf.client.transport import Https
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.http_address import HttpAddress, in_turn
from consul_ebpf.model.lifetime import FOREVER, UNKNOWN, Lifetime
from consul_ebpf.model.values import Login, Server

ASK_AGAIN = 3
"""How often every address is asked for a token's lifetime: one may lag behind."""

READERS = 2
"""Files read at a time: a slow file system must not occupy all threads."""

FORBIDDEN = 403
"""The HTTP status for an unknown token."""

GONE = {
    "FAILED_PRECONDITION",  # its ACL system is off
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",  # no login made it
    "UNAUTHENTICATED",
}
"""Answers to a log-out that mean that the token is gone already."""


class ConsulAcl:
    """An `Acl` that asks Consul: over gRPC if a server is known, else over HTTP.

    Args:
        calls: makes the calls to servers.
        http_addresses: used before a server is known, and to ask when a token expires,
            which gRPC does not tell.
        https: how to verify https addresses; None: by the system's certificates.
        datacenter: empty for that of the agent that answers.
        reader: reads the bearer tokens' files.
    """

    def __init__(
        self,
        calls: ServerCalls,
        http_addresses: Sequence[str],
        *,
        https: Https | None = None,
        datacenter: str = "",
        reader: Reader = PLAIN,
    ) -> None:
        self._reader = reader
        self._reading = asyncio.Semaphore(READERS)
        self._calls = calls
        self._addresses = tuple(in_turn(http_addresses))
        self._https = https
        self._datacenter = datacenter

    def __repr__(self) -> str:
        return f"<ConsulAcl {', '.join(map(str, self._addresses))}>"

    async def login(self, how: Login) -> str:
        """Log in; see `Acl.login`."""
        bearer = how.bearer_token
        if not bearer:
            async with self._reading:
                bearer = await asyncio.to_thread(
                    read_bearer, how.bearer_token_file, self._reader
                )
        if self._calls.servers:
            return await grpc_acl.login(self._calls, how, bearer)
        body = {"AuthMethod": how.auth_method, "BearerToken": bearer}
        if how.meta:
            body["Meta"] = dict(how.meta)  # type: ignore[assignment]
        return await self._over_http(how, body, bearer)

    async def lifetime(self, secret: str, how: Login) -> Lifetime:
        """Ask over HTTP, because gRPC does not tell; see `Acl.lifetime`."""
        for turn in range(ASK_AGAIN if self._addresses else 0):
            if turn:
                await asyncio.sleep(0.3)
            for address in self._addresses:
                with (
                    contextlib.suppress(ConsulError),
                    boundary(ConsulError, f"Consul at {address}", hide=secret),
                ):
                    async with self._http(address, how.datacenter) as consul:
                        return life_of(await consul.acl.token.read_self(secret))
        return UNKNOWN

    async def logout(self, secret: str, how: Login) -> None:
        """Log out; see `Acl.logout`."""
        try:
            if self._calls.servers:
                await grpc_acl.logout(self._calls, secret, how.datacenter)
            else:
                await self._over_http(how, None, secret)
        except CallError as error:
            if error.code not in GONE:
                raise
        except ConsulError as error:
            if error.status != FORBIDDEN:
                raise

    async def refused(self, secret: str) -> bool:
        """Ask the servers one by one until one accepts it; see `Acl.refused`."""
        servers = list(self._calls.servers)
        random.shuffle(servers)
        refusals = 0
        for server in servers:
            match await self._accepts(server, secret):
                case True:
                    return False
                case False:
                    refusals += 1
        return refusals > 0

    async def accepted(self, secret: str) -> bool:
        """Ask every server; see `Acl.accepted`."""
        answers = await asyncio.gather(
            *(self._accepts(server, secret) for server in self._calls.servers)
        )
        return False not in answers

    async def _accepts(self, server: Server, secret: str) -> bool | None:
        """Ask one server; None: it does not answer."""
        with contextlib.suppress(ConsulError), boundary(ConsulError, server.endpoint):
            return await self._calls.accepts(server, secret)
        return None

    async def _over_http(
        self, how: Login, body: dict[str, str] | None, secret: str
    ) -> str:
        """Log in with `body`; if it is None, log `secret` out. Addresses in turn."""
        error = ConsulError(
            "no Consul server is known to be up yet, and consul.http_addresses names"
            " no other way"
        )
        for address in self._addresses:
            try:
                async with self._http(address, how.datacenter) as consul:
                    if body is None:
                        await consul.acl.logout(secret)
                        return ""
                    answer = await consul.log_in(
                        body,
                        namespace=how.namespace,
                        partition=how.partition,
                        seconds=grpc_acl.LOGIN_SECONDS,
                    )
                    return secret_of(answer, f"Consul at {address}")
            except ConsulError as caught:
                said = str(caught).replace(secret, "<token>")
                error = ConsulError(said, status=caught.status)
        raise error

    def _http(self, address: HttpAddress, datacenter: str) -> ConsulHttp:
        return ConsulHttp(
            address,
            datacenter=datacenter or self._datacenter,
            https=self._https,
        )


def read_bearer(path: str, reader: Reader = PLAIN) -> str:
    """Read a bearer token's file.

    Raises:
        ConsulError: it cannot be read, or holds no token.
    """
    if not path:
        raise ConsulError("no bearer token: set bearer_token or bearer_token_file")
    try:
        return token_in(reader.read(path, MAX_TOKEN_BYTES).data)
    except FileError as error:
        raise ConsulError(f"bearer token file {error}") from error
    except ValueError as error:
        raise ConsulError(f"bearer token file {one_line(path)}: {error}") from None


class _Told(msgspec.Struct):
    """The fields we use of Consul's description of a token."""

    CreateTime: str
    ExpirationTime: str | None = None


def life_of(answer: object) -> Lifetime:
    """Return how long a token lives, from Consul's description of it.

    Raises:
        ConsulError: the description cannot be read.
    """
    with boundary(ConsulError, "a token's description"):
        told = msgspec.convert(answer, _Told)
        if not told.ExpirationTime:
            return FOREVER
        return Lifetime(unix_time(told.ExpirationTime) - unix_time(told.CreateTime))


def secret_of(answer: object, who: str) -> str:
    """Return the new token's secret from the answer to a login.

    Raises:
        ConsulError: the answer holds no token.
    """
    secret = answer.get("SecretID") if isinstance(answer, dict) else None
    if not isinstance(secret, str) or not is_token(secret):
        raise ConsulError(f"{who}: the login's answer holds no token")
    return secret


def unix_time(text: str) -> float:
    """Read a time of Consul's: RFC 3339 with up to nine digits, in any zone."""
    whole, point, rest = text.partition(".")
    if point:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = f"{whole}.{rest[:digits][:6]}{rest[digits:]}"
    return dt.datetime.fromisoformat(text).timestamp()
