"""The one place where a gRPC call is made.

Whatever a server answers and gRPC raises, the caller gets a message or a `CallError`
of one printable line. Each answer has a deadline and a size limit (see `channels`), and
no error repeats a secret.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.lines import one_line
from consul_ebpf.client.headers import as_header
from consul_ebpf.model.errors import ConsulError

T = TypeVar("T")

SHOWN = 200
"""Most characters of a server's message that an error repeats."""

UNREADABLE = "INTERNAL"
"""The code for an answer that cannot be read, as gRPC's own clients have it."""


TOKEN_REFUSALS = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
"""Codes by which a server says that it does not accept an ACL token."""


class CallError(ConsulError):
    """A call to one server failed.

    `code` is gRPC's name of the status. `details` is the server's message, one line.
    `info` has the bytes of a google.rpc.Status, if the server sent one.
    """

    def __init__(
        self, message: str, code: str, details: str = "", info: bytes = b""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.info = info


async def ask(
    channel: grpc.aio.Channel,
    method: str,
    request: bytes,
    read: Callable[[bytes], T],
    *,
    who: str,
    seconds: float,
    token: str = "",
    secret: str = "",
) -> T:
    """Make a call that has one answer.

    Args:
        channel: to the server.
        method: `/package.Service/Method`.
        request: the message's bytes.
        read: decodes the answer's bytes. Whatever it raises becomes a `CallError`.
        who: the server, for errors.
        seconds: the server has to answer within these.
        token: an ACL token to send along.
        secret: a secret in the request. No error repeats it, nor the token.

    Raises:
        CallError: the server refused, is not there, or its answer cannot be read.
        ConsulError: the token cannot be sent in a header.
    """
    metadata = _metadata(token)
    with _failures(who, token, secret):
        answer = await channel.unary_unary(method)(
            request, timeout=seconds, metadata=metadata
        )
        return read(answer)


async def follow(
    channel: grpc.aio.Channel,
    method: str,
    request: bytes,
    read: Callable[[bytes], T],
    *,
    who: str,
    token: str = "",
) -> AsyncGenerator[T, None]:
    """Make a call that has many answers, without a deadline; see `ask`.

    Raises:
        CallError: as for `ask`, and when the server ends the stream.
    """
    metadata = _metadata(token)
    with _failures(who, token):
        async for answer in channel.unary_stream(method)(request, metadata=metadata):
            yield read(answer)
    raise CallError(f"{who}: it ended the stream", "OK")


def message(kind: Any) -> Callable[[bytes], Any]:
    """Return the function that decodes a protobuf message of class `kind`."""
    read: Callable[[bytes], Any] = kind.FromString
    return read


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("x-consul-token", as_header(token)),) if token else ()


@contextmanager
def _failures(who: str, *secrets: str) -> Iterator[None]:
    """Make every failure of a call a `CallError`."""

    def unreadable(line: str) -> CallError:
        line = _hidden(line, secrets)
        return CallError(line, UNREADABLE, line)

    with boundary(unreadable, f"{who}: its answer cannot be read"):
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # gRPC raises it, too, when the channel was closed during the call.
            line = f"{who}: the channel was closed"
            raise CallError(line, "CANCELLED") from None
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            details = one_line(_hidden(error.details() or "", secrets), SHOWN)
            line = f"{who}: {code} {details}".strip()
            raise CallError(line, code, details, _info(error)) from None


def _info(error: grpc.aio.AioRpcError) -> bytes:
    found = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return found if isinstance(found, bytes) else b""


def _hidden(text: str, secrets: tuple[str, ...]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "<token>")
    return text
