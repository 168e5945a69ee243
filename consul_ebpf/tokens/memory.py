"""`tokens.json`: the logins' tokens, so that a restart makes no new ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.model.lifetime import FOREVER, UNKNOWN, Lifetime
from consul_ebpf.model.values import Login

TOKENS_FILE = "tokens.json"
"""In the bootstraps' directory, 0600."""


@dataclass(frozen=True, slots=True)
class Session:
    """A login's token, as `tokens.json` has it."""

    how: Login
    secret: str = field(repr=False)
    made: float
    """Unix time."""
    lifetime: float | None = None
    """Seconds from `made`; 0: it never expires; None: not known."""

    @property
    def life(self) -> Lifetime:
        """How long the token lives from `made`."""
        if self.lifetime is None or self.lifetime < 0:
            return UNKNOWN
        return Lifetime(self.lifetime) if self.lifetime else FOREVER

    def living(self, life: Lifetime) -> "Session":
        """Return the session with another lifetime."""
        if not life.known:
            return replace(self, lifetime=None)
        return replace(self, lifetime=life.seconds if life.ends else 0.0)


@dataclass(frozen=True, slots=True)
class Retired:
    """A login's token that is to be logged out."""

    key: str
    """Whose it was: a proxy's, or `HOST`."""
    how: Login
    secret: str = field(repr=False)
    used: bool = True
    """Whether an Envoy may have it. The version before wrote only those."""


class _Content(msgspec.Struct, frozen=True):
    sessions: dict[str, Session]
    retired: list[Retired]


class TokenMemory:
    """The file with the sessions by key and the tokens to log out. Blocking."""

    def __init__(self, directory: Path) -> None:
        """Keep the file in the bootstraps' directory."""
        self._file = JsonFile(directory / TOKENS_FILE, _Content)

    def __repr__(self) -> str:
        return f"<TokenMemory {self._file.path}>"

    def load(self) -> tuple[dict[str, Session], list[Retired]]:
        """Return what an earlier process left: sessions by key, tokens to log out."""
        content = self._file.load()
        return (content.sessions, content.retired) if content else ({}, [])

    def save(self, sessions: Mapping[str, Session], retired: Sequence[Retired]) -> None:
        """Write them if they changed. No bearer token is written."""
        if not (sessions or retired or self._file.path.exists()):
            return
        self._file.save(
            _Content(
                {key: replace(s, how=_bare(s.how)) for key, s in sessions.items()},
                [replace(each, how=_bare(each.how)) for each in retired],
            )
        )


def same_login(one: Login, other: Login) -> bool:
    """Whether two logins are the same but for a bearer token that may be newer."""
    return _bare(one) == _bare(other)


def _bare(how: Login) -> Login:
    return replace(how, bearer_token="")
