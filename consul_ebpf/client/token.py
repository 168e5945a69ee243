"""Where an ACL token comes from: asked for at each request, so that it can rotate."""

import logging
from collections.abc import Callable
from pathlib import Path

from consul_ebpf.base.events import event
from consul_ebpf.model.errors import ConsulError

logger = logging.getLogger(__name__)

TokenSource = Callable[[], str | None]
"""Returns the token to send with the next request, None for none."""


def no_token() -> None:
    """Be the `TokenSource` of somebody without a token."""


class StaticToken:
    """A token that stays; hidden from reprs and tracebacks."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "<StaticToken>"

    def __call__(self) -> str | None:
        """Return the token, None if it is empty."""
        return self._secret or None


class TokenFile:
    """A file that holds a token and nothing else; read again when it changes.

    Once read, the last token is kept while the file cannot be read: a rotation
    that is not atomic must not send us out without a token.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._secret: str | None = None
        self._seen: tuple[int, ...] = ()
        self._lost = False

    def __repr__(self) -> str:
        return f"<TokenFile {self._path}>"

    def __call__(self) -> str | None:
        """Return the token.

        Raises:
            ConsulError: the file could not be read, now or ever before.
        """
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if seen != self._seen:
                self._secret = self._read() or self._secret
                self._seen = seen
        except (OSError, ValueError) as error:
            # A ValueError is a file that is not text; its message would quote it.
            why = error.strerror if isinstance(error, OSError) else "not text"
            if self._secret is None:
                raise ConsulError(f"token file {self._path}: {why}") from None
            if not self._lost:
                logger.warning(
                    "token file %s: %s; keeping the last token",
                    self._path,
                    why,
                    extra=event("files_failed"),
                )
            self._lost = True
        else:
            self._lost = False
        return self._secret

    def _read(self) -> str:
        secret = self._path.read_text("ascii").strip()
        if len(secret.split()) > 1:
            raise ValueError
        return secret
