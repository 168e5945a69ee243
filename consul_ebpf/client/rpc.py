"""The one place where a gRPC call is made.

Whatever a server answers, and whatever gRPC's library raises, comes out as a message
that was read or as an error of ours in one printable line: `CallError`. Each answer
has a deadline and a limit of its size (see `channels`), and no error repeats a secret.
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
"""Characters of a server's own words that an error repeats."""

UNREADABLE = "INTERNAL"
"""The code for an answer that cannot be read: what gRPC's own clients say then."""


class CallError(ConsulError):
    """A call to one server failed.

    `code`: gRPC's name of the status; `details`: what the server said, one line;
    `info`: what it said for machines, the bytes of a google.rpc.Status.
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
    """Make one call of one answer.

    Args:
        channel: to the server.
        method: `/package.Service/Method`.
        request: the message's bytes.
        read: makes a value of the answer's bytes; whatever it raises is the server's
            fault.
        who: the server, for errors.
        seconds: that it has to answer.
        token: an ACL token to send along.
        secret: one that the request holds: no error repeats it, nor the token.

    Raises:
        CallError: the server refused, is not there, or its answer cannot be read.
        ConsulError: the token is none that can be sent.
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
    """Make one call of many answers, without a deadline; see `ask`.

    Raises:
        CallError: as for `ask`, and when the server ended the answers.
    """
    metadata = _metadata(token)
    with _failures(who, token):
        async for answer in channel.unary_stream(method)(request, metadata=metadata):
            yield read(answer)
    raise CallError(f"{who}: it ended the stream", "OK")


def message(kind: Any) -> Callable[[bytes], Any]:
    """Return what reads a protobuf message of class `kind`."""
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
            # gRPC says so, too, when the channel was closed under the call.
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
