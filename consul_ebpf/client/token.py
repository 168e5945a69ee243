"""Where an ACL token comes from. It is asked for at each request, so it can rotate.

This is also the one place that says what a token's text may be, whether it comes from a
file, an answer or the configuration: printable ASCII, because it is sent in headers.
"""

import codecs
from collections.abc import Callable
from pathlib import Path

from consul_ebpf.base.reading import PLAIN, Reader
from consul_ebpf.base.watched import Watched
from consul_ebpf.model.errors import ConsulEbpfError, ConsulError

TokenSource = Callable[[], str | None]
"""Returns the token to send with the next request, None for none."""

MAX_TOKEN_BYTES = 64 * 1024
"""Most bytes of a token's or a bearer token's file. A JWT has one or two thousand."""

_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def no_token() -> None:
    """Return no token: the `TokenSource` where there is none."""


def is_token(text: str) -> bool:
    """Whether a text can be a token: one word of printable ASCII."""
    fits = 0 < len(text) <= MAX_TOKEN_BYTES
    return fits and text.isascii() and text.isprintable() and " " not in text


def token_in(data: bytes) -> str:
    """Return the token in a file's bytes, without the white space around it.

    Raises:
        ValueError: there is none, or more than one word. The message does not quote the
            bytes.
    """
    if data.startswith(_OTHER_ENCODINGS) or b"\0" in data:
        raise ValueError("is UTF-16 or binary: save it as UTF-8")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode().strip()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    if not text:
        raise ValueError("is empty")
    if len(text.split()) > 1:
        raise ValueError("holds more than one word; a token is one")
    if not is_token(text):
        raise ValueError("holds a control character, or more than printable ASCII")
    return text


class StaticToken:
    """A token that never changes. Reprs and tracebacks do not show it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "<StaticToken>"

    def __call__(self) -> str | None:
        """Return the token, None if it is empty."""
        return self._secret or None


class TokenFile:
    """A file that holds a token and nothing else. It is read again when it changes.

    While the file cannot be read, the last token stays in use, so that a rotation which
    is not atomic leaves no gap. Blocking, but never on a FIFO or a device.
    """

    def __init__(
        self, path: str | Path, *, what: str = "token file", reader: Reader = PLAIN
    ) -> None:
        self._file = Watched(
            path, token_in, limit=MAX_TOKEN_BYTES, what=what, reader=reader
        )

    def __repr__(self) -> str:
        return f"<TokenFile {self._file.path}>"

    def __call__(self) -> str | None:
        """Return the token.

        Raises:
            ConsulError: the file cannot be read, and never could be.
        """
        try:
            return self._file()
        except ConsulEbpfError as error:
            raise ConsulError(str(error)) from error
